"""What an app pins: by a requirements.txt, or by the lock files of uv, Poetry and PEP 751."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.spec import pins
from fleet.spec.requirements import entries, unpinned

HASHES = {name: f"sha256:{name[0] * 2:0<64}" for name in ("amqp", "celery", "dotty")}
INDEX = "https://packages.example.com/simple"
PYPROJECT = """[project]
name = "shop"
version = "1"
requires-python = ">=3.11"
dependencies = ["celery==5.7.0", "dotty==2.0 ; sys_platform == 'win32'"]

[dependency-groups]
dev = ["checker==9.0"]
"""
UV = f"""version = 1
requires-python = ">=3.11"

[[package]]
name = "amqp"
version = "5.4.2"
source = {{ registry = "{INDEX}" }}
sdist = {{ url = "{INDEX}/amqp-5.4.2.tar.gz", hash = "{HASHES["amqp"]}", size = 1 }}

[[package]]
name = "celery"
version = "5.7.0"
source = {{ registry = "{INDEX}" }}
dependencies = [{{ name = "amqp" }}]
sdist = {{ url = "{INDEX}/celery-5.7.0.tar.gz", hash = "{HASHES["celery"]}", size = 1 }}

[[package]]
name = "checker"
version = "9.0"
source = {{ registry = "{INDEX}" }}
sdist = {{ url = "{INDEX}/checker-9.0.tar.gz", hash = "sha256:{"0" * 64}", size = 1 }}

[[package]]
name = "dotty"
version = "2.0"
source = {{ registry = "{INDEX}" }}
sdist = {{ url = "{INDEX}/dotty-2.0.tar.gz", hash = "{HASHES["dotty"]}", size = 1 }}

[[package]]
name = "shop"
version = "1"
source = {{ virtual = "." }}
dependencies = [{{ name = "celery" }}, {{ name = "dotty", marker = "sys_platform == 'win32'" }}]

[package.dev-dependencies]
dev = [{{ name = "checker" }}]

[package.metadata]
requires-dist = [
    {{ name = "celery", specifier = "==5.7.0" }},
    {{ name = "dotty", marker = "sys_platform == 'win32'", specifier = "==2.0" }},
]

[package.metadata.requires-dev]
dev = [{{ name = "checker", specifier = "==9.0" }}]
"""
PYLOCK = f"""lock-version = "1.0"
created-by = "test"

[[packages]]
name = "amqp"
version = "5.4.2"
wheels = [{{ url = "{INDEX}/amqp.whl", hashes = {{ sha256 = "{HASHES["amqp"].partition(":")[2]}" }} }}]

[[packages]]
name = "celery"
version = "5.7.0"
sdist = {{ url = "{INDEX}/celery.tar.gz", hashes = {{ sha256 = "{HASHES["celery"].partition(":")[2]}" }} }}

[[packages]]
name = "checker"
version = "9.0"
marker = "'dev' in dependency_groups"

[[packages]]
name = "dotty"
version = "2.0"
marker = "sys_platform == 'win32'"
wheels = [{{ url = "{INDEX}/dotty.whl", hashes = {{ sha256 = "{HASHES["dotty"].partition(":")[2]}" }} }}]
"""
POETRY = f"""
[[package]]
name = "amqp"
version = "5.4.2"
optional = false
groups = ["main"]
files = [{{file = "amqp.whl", hash = "{HASHES["amqp"]}"}}]

[[package]]
name = "celery"
version = "5.7.0"
optional = false
groups = ["main", "dev"]
files = [{{file = "celery.whl", hash = "{HASHES["celery"]}"}}]

[[package]]
name = "checker"
version = "9.0"
optional = false
groups = ["dev"]
files = []

[[package]]
name = "dotty"
version = "2.0"
optional = false
groups = ["main", "dev"]
markers = {{main = "sys_platform == 'win32'", dev = "python_version < '4'"}}
files = [{{file = "dotty.whl", hash = "{HASHES["dotty"]}"}}]

[metadata]
lock-version = "2.1"
"""
LOCKS = {"uv.lock": UV, "pylock.toml": PYLOCK, "poetry.lock": POETRY}


def lock(folder: Path, name: str, text: str) -> Path:
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_says_the_same_whoever_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app").mkdir()
    text = pins.text_of(lock(Path("app"), name, LOCKS[name]))
    packages = entries(text)
    assert list(packages) == ["amqp", "celery", "dotty"], "nothing for development, and not the app itself"
    assert unpinned(text) == []
    for package, lines in packages.items():
        assert f"--hash={HASHES[package]}" in lines
    assert packages["dotty"].startswith("dotty==2.0 ; sys_platform == 'win32' ")
    assert packages["celery"].startswith("celery==5.7.0 \\")


def test_a_lock_that_changes_is_read_anew(tmp_path: Path) -> None:
    path = lock(tmp_path, "poetry.lock", POETRY)
    assert "celery==5.7.0" in pins.text_of(path)
    path.write_text(POETRY.replace("5.7.0", "5.6.10"))
    assert "celery==5.6.10" in pins.text_of(path)


def test_what_comes_from_a_repository_is_pinned_to_its_commit(tmp_path: Path) -> None:
    commit = "c" * 40
    where = f'type = "git", url = "https://example.com/tool", commit-id = "{commit}"'
    vcs = f'\n[[packages]]\nname = "tool"\nversion = "1"\nvcs = {{ {where} }}\n'
    git = f'type = "git"\nurl = "https://example.com/tool"\nreference = "main"\nresolved_reference = "{commit}"\n'
    package = '\n[[package]]\nname = "tool"\nversion = "1"\noptional = false\ngroups = ["main"]\nfiles = []\n'
    poetry = POETRY.replace("\n[metadata]", f"{package}[package.source]\n{git}\n[metadata]")
    for name, content in (("pylock.toml", PYLOCK + vcs), ("poetry.lock", poetry)):
        text = pins.text_of(lock(tmp_path, name, content))
        assert f"tool @ git+https://example.com/tool@{commit}\n" in text and unpinned(text) == []


def test_what_is_on_this_machine_alone_is_no_pin(tmp_path: Path) -> None:
    local = '\n[[packages]]\nname = "tool"\ndirectory = { path = "../tool" }\n'
    assert unpinned(pins.text_of(lock(tmp_path, "pylock.toml", PYLOCK + local))) == ["../tool"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("pyproject.toml", PYPROJECT, 'pins nothing; run uv lock in .*, and write app_requirements = "uv.lock"'),
        ("uv.lock", "version = 1\n[[package]]\n", "uv export: .*"),
        ("pylock.toml", "no toml", "is no such lock file"),
        ("poetry.lock", "[metadata]\n", "is no such lock file: 'package'"),
        ("poetry.lock", POETRY.replace('groups = ["main"]\n', ""), "lock it with Poetry 2, or run poetry export"),
    ],
)
def test_what_pins_nothing_is_refused_with_what_to_do(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    path = lock(tmp_path, name, text)
    with pytest.raises(pins.PinsError, match=complaint):
        pins.text_of(path)


def test_a_lock_beside_is_named(tmp_path: Path) -> None:
    path = lock(tmp_path, "uv.lock", UV)
    with pytest.raises(pins.PinsError, match=r'pins nothing; write app_requirements = "uv\.lock"$'):
        pins.text_of(path.with_name("pyproject.toml"))
    assert pins.locks_beside(tmp_path / "requirements.txt") == ["uv.lock"]
