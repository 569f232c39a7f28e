"""The register of patches: what each says of itself is true, and nothing is patched outside of it."""

import ast
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import celery
import kombu
import pytest
from celery import Celery

from fleet_node import patches
from fleet_node.patches import PATCHES, Patch, applicable, exists
from fleet_node.patches.versions import Range, Versions

ROOT = Path(__file__).parents[4]
FLEET_NODE = ROOT / "fleet_node"
EACH = pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.NAME)


@EACH
def test_what_a_patch_replaces_is_there(patch: Patch) -> None:
    assert [name for name in patch.REPLACES if not exists(name)] == []


@EACH
def test_a_patch_has_a_test(patch: Patch) -> None:
    path, _, function = patch.TEST.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@EACH
def test_a_patch_supports_only_what_is_affected(patch: Patch) -> None:
    assert patch.SUPPORTED.within(patch.AFFECTED)
    # Else its test tests nothing, unless it runs with other versions.
    assert patch.SUPPORTED.include(celery.__version__, kombu.__version__) or patch.TEST.startswith("tests/matrix/")


@EACH
def test_a_patch_says_what_users_have_to_know(patch: Patch) -> None:
    for text in (patch.MENDS, patch.ADVICE, patch.DELETE_WHEN):
        assert text
        assert not text.endswith(".")  # lint joins them


def test_names_are_unique_and_every_module_is_in_the_register() -> None:
    assert len({patch.NAME for patch in PATCHES}) == len(PATCHES)
    modules = {path.stem for path in (FLEET_NODE / "patches").glob("*.py")}
    registered = {str(getattr(patch, "__name__", "")).rpartition(".")[2] for patch in PATCHES}
    assert modules - registered == {"__init__", "versions"}


def _patched(path: Path) -> list[str]:
    """Assignments to attributes of classes, or of modules, that are imported from Celery, kombu or redis."""
    tree = ast.parse(path.read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("celery", "kombu", "billiard", "redis"):
            imported |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            imported |= {
                alias.asname or alias.name.split(".")[0] for alias in node.names if alias.name.startswith(("celery", "kombu"))
            }
    aliases = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Name) and node.value.id in imported
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    patched = []
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = [part for target in node.targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
            targets = [ast.Attribute(node.args[0], "…")]
        for target in targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in imported | aliases:
                patched.append(f"{path.relative_to(ROOT)}: {target.value.id}.{target.attr}")
    return patched


def test_only_patches_patch() -> None:
    patched = {path: _patched(path) for path in FLEET_NODE.rglob("*.py")}
    assert [line for path, lines in patched.items() if path.parent.name != "patches" for line in lines] == []
    attributes = {line.rpartition(".")[2] for path, lines in patched.items() for line in lines}
    replaced = {name.rpartition(".")[2] for patch in PATCHES for name in patch.REPLACES} - {"Strategy", "Request"}
    assert replaced <= attributes  # or this test does not see what it is for


def test_ranges() -> None:
    assert [version in Range("5.3", "5.7") for version in ("5.2.7", "5.3.0", "5.7.4", "5.8.0", "5.7.0rc1")] == [
        False,
        True,
        True,
        False,
        True,
    ]
    assert "5.7.1" not in Range("5.0", "5.7.0")
    assert Range("5.7.0", "5.7.0").within(Range("5.3", "5.7"))
    assert not Range("5.3", "5.7").within(Range("5.3", "5.7.0"))
    assert not Versions().within(Versions(kombu=Range("5", "5")))


def test_versions_that_a_patch_is_not_written_for_are_affected_all_the_same() -> None:
    entries = {entry.patch.NAME: entry.mended for entry in applicable("5.7.0", "5.6.2")}
    assert (entries["broker-outage"], entries["delivery"], entries["reconnect"]) == (False, True, True)
    # Nobody knows of a version to come that it has no such defect.
    later = {entry.patch.NAME: entry.mended for entry in applicable("6.0.0", "6.0.0")}
    assert later == dict.fromkeys(
        (
            "delayed-setup",
            "delivery",
            "green-backends",
            "heartbeats",
            "parking",
            "prompt-acks",
            "queue-names",
            "reconnect",
            "single-writes",
            "task-counts",
            "tls-authorities",
            "unsent-retry",
        ),
        False,
    )


def test_a_patch_that_does_not_find_what_it_replaces_is_not_applied_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    applied: list[str] = []

    def patch(name: str, replaces: str, pools: tuple[str, ...] = (), brokers: tuple[str, ...] = ()) -> Any:
        everything = Versions()
        return SimpleNamespace(
            NAME=name,
            AFFECTED=everything,
            SUPPORTED=everything,
            POOLS=pools,
            BROKERS=brokers,
            REPLACES=(replaces,),
            MENDS="tasks are lost",
            apply=lambda _: applied.append(name),
        )

    there = "kombu.connection.Connection.ensure_connection"
    monkeypatch.setattr(
        patches,
        "PATCHES",
        (
            patch("good", there, (), ("redis",)),
            patch("green", there, ("gevent",)),
            patch("other", there, (), ("amqp",)),
            patch("lost", "kombu.connection.Connection.gone"),
        ),
    )
    pool = type("TaskPool", (), {"__module__": "celery.concurrency.prefork"})
    worker = SimpleNamespace(pool_cls=pool, app=Celery(broker="redis://", set_as_current=False))
    with caplog.at_level(logging.ERROR):
        assert patches.apply(worker) == ["good"]
    assert applied == ["good"]
    assert [record.getMessage() for record in caplog.records] == [
        "lost is not mended: there is no kombu.connection.Connection.gone to replace. tasks are lost"
    ]
