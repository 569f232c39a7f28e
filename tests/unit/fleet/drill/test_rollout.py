"""What a drill does, before it does it. It is tried as a whole on the lab."""

from pathlib import Path

import pytest

from fleet.drill.errors import DrillError
from fleet.drill.rollout import BROKEN, PHASES, complete, is_local, module_of


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (["release"], ["release", "as before"]),
        (["release", "as before", "restart"], ["release", "as before", "restart"]),
        (["as before", "killed"], ["as before", "killed", "as before"]),
        (["restart"], ["restart"]),
        (["never ready"], ["never ready"]),
        (list(PHASES), list(PHASES)),
    ],
)
def test_it_ends_on_what_was_there(asked: list[str], wanted: list[str]) -> None:
    assert complete(asked) == wanted


@pytest.mark.parametrize(
    ("asked", "said"), [(["nonsense"], "no 'nonsense'; there are: release, "), ([], "write at least one of: ")]
)
def test_phases_that_are_none(asked: list[str], said: str) -> None:
    with pytest.raises(DrillError, match=said):
        complete(asked)


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


def test_machines_over_loopback_are_a_lab() -> None:
    assert is_local({"web1": {"ssh_hostname": "127.0.0.1"}, "web2": {"ssh_hostname": "127.0.0.2"}})
    assert not is_local({"web1": {"ssh_hostname": "127.0.0.1"}, "web2": {}})
    assert not is_local({"web1": {"ssh_hostname": "10.0.0.1"}})


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_release_is_python(name: str) -> None:
    compile(BROKEN[name], name, "exec")
