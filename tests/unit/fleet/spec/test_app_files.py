"""Mistakes in the app's files."""

from pathlib import Path

import pytest

from fleet.spec.load import load_fleet
from tests.unit.fleet.spec.spec_support import ALL, inventory_of, mistakes

pytestmark = pytest.mark.usefixtures("app_folder")


def test_a_missing_app_source() -> None:
    assert mistakes(inventory_of(everywhere={**ALL, "app_source": "nowhere"})) == [
        f"app_source: no such folder: nowhere (seen from {Path.cwd()}); write the path of the app's code"
    ]


def test_a_missing_requirements_file() -> None:
    (mistake,) = mistakes(inventory_of(everywhere={**ALL, "app_requirements": "pins.txt"}))
    assert mistake.startswith("app_requirements: no such file: app/pins.txt; pin the app's requirements there")


def test_unpinned_requirements(tmp_path: Path) -> None:
    (tmp_path / "app" / "requirements.txt").write_text("celery[redis]==5.7.0\nredis==8.1.0\nrequests>=2\n")
    assert mistakes(inventory_of()) == [
        "app/requirements.txt: not pinned with ==: requests; the same release must be the same everywhere"
    ]


def test_requirements_without_what_reaches_the_broker(tmp_path: Path) -> None:
    (tmp_path / "app" / "requirements.txt").write_text("celery==5.7.0\nkombu==5.7.0\n")
    (mistake,) = mistakes(inventory_of())
    assert mistake.startswith("app/requirements.txt: no redis, which workers need with every broker; ask for celery[redis]")


def test_the_folder_above_a_src_layout(tmp_path: Path) -> None:
    (tmp_path / "app" / "src" / "shop").mkdir(parents=True)
    (mistake,) = mistakes(inventory_of(everywhere={**ALL, "celery_app": "shop.app"}))
    assert mistake == 'app_source: app has no shop, and app/src has: write "app/src"'
    load_fleet(inventory_of(everywhere={**ALL, "celery_app": "installed.app"}))  # as a package, by the requirements


def test_requirements_beside_the_source_are_named_plainly(tmp_path: Path) -> None:
    (tmp_path / "app" / "src").mkdir()
    (mistake,) = mistakes(inventory_of(everywhere={**ALL, "app_source": "app/src", "app_requirements": "../pins.txt"}))
    assert mistake.startswith("app_requirements: no such file: app/pins.txt; ")


def test_a_secrets_file_that_would_be_shipped_is_refused() -> None:
    (mistake,) = mistakes(inventory_of(everywhere={**ALL, "secrets_file": "app/prod.env"}))
    assert mistake == "secrets_file: app/prod.env is inside app_source and would be shipped to every machine; move it"
    load_fleet(inventory_of(everywhere={**ALL, "secrets_file": "app/secrets/prod.env"}))


@pytest.mark.parametrize("folder", ["prod-tls", "prod-k8s"])
def test_private_keys_that_would_be_shipped_are_refused(tmp_path: Path, folder: str) -> None:
    """Also if the secrets file beside them is left out by its own name."""
    everywhere = {**ALL, "secrets_file": "app/conf/prod.env", "app_exclude": ["*.env"]}
    (tmp_path / "app" / "conf" / folder).mkdir(parents=True)
    (mistake,) = mistakes(inventory_of(everywhere=everywhere))
    assert mistake.startswith(f"secrets_file: app/conf/{folder}, with private keys, is inside app_source")
    load_fleet(inventory_of(everywhere={**everywhere, "app_exclude": ["conf"]}))
