"""Rules about what a release is made of."""

import os
from pathlib import Path

import pytest

from fleet.lint import release
from fleet.plan.plan import Plan
from tests.unit.fleet.lint.rules_support import APP, Case, assert_finds, findings_of, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")


def sparse(path: Path, size: int) -> None:
    """A file of `size` bytes that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, size)


def with_large_file() -> Plan:
    sparse(Path("app/data/model.bin"), 500_000_000)
    return plan()


def with_many_files() -> Plan:
    for number in range(12):
        sparse(Path(f"app/media/{number}.png"), 10_000_000)
    return plan()


CASES = {
    "release-size": Case(
        with_large_file,
        APP,
        "app_source: a release has 2 files, 500.0 MB, the largest: data/model.bin 500.0 MB. Name what the tasks do not need in "
        "app_exclude [release-size]",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(release)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])


def test_a_folder_of_many_files_is_named_as_a_whole() -> None:
    (finding,) = findings_of("release-size", with_many_files())
    assert "13 files, 120.0 MB, the largest: media/ 120.0 MB." in str(finding)


@pytest.mark.parametrize("name", ["data", "*.bin"])
def test_what_is_left_out_does_not_count(name: str) -> None:
    with_large_file()
    assert findings_of("release-size", plan(app_exclude=[name])) == []


@pytest.mark.parametrize("folder", [".git", ".venv", "node_modules", "__pycache__"])
def test_what_is_left_out_by_default_does_not_count(folder: str) -> None:
    sparse(Path("app") / folder / "pack", 500_000_000)
    assert findings_of("release-size", plan()) == []
