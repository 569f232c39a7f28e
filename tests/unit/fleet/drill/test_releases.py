"""The releases of a drill, good and broken."""

from pathlib import Path

import pytest

from fleet.drill.errors import DrillError
from fleet.drill.releases import BROKEN, copy_release, module_of


def test_the_file_that_an_app_is_in(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    for name in ("shop/__init__.py", "shop/app.py", "jobs.py"):
        (tmp_path / name).touch()
    for app, file in (("shop.app", "shop/app.py"), ("shop.app:celery", "shop/app.py"), ("shop.app.celery", "shop/app.py")):
        assert module_of(tmp_path, app) == tmp_path / file
    assert module_of(tmp_path, "shop") == tmp_path / "shop" / "__init__.py"
    assert module_of(tmp_path, "jobs:app") == tmp_path / "jobs.py"
    with pytest.raises(DrillError, match="celery_app nowhere: no such module in"):
        module_of(tmp_path, "nowhere")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_release_is_python(name: str) -> None:
    compile(BROKEN[name], name, "exec")


def test_a_copy_is_another_release_and_the_source_stays_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "jobs.py").write_text("app = 1\n")
    good = copy_release(source, tmp_path / "good", "jobs:app")
    other = copy_release(source, tmp_path / "other", "jobs:app")
    broken = copy_release(source, tmp_path / "broken", "jobs:app", "crash at import")
    assert (good / "jobs.py").read_text() == (source / "jobs.py").read_text() == "app = 1\n"
    assert (good / "fleet_drill.txt").read_text() != (other / "fleet_drill.txt").read_text()
    assert (broken / "jobs.py").read_text() == f"app = 1\n\n{BROKEN['crash at import']}"
