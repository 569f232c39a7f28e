"""Mistakes in the files of the app: its folder, its requirements, and a secrets file that would be shipped."""

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from fleet.spec import pins
from fleet.spec.certificates import folders_beside
from fleet.spec.mistakes import SpecError
from fleet.spec.requirements import entries, unpinned
from fleet.spec.settings import Settings
from fleet.spec.source import source_files, source_mistakes
from fleet.spec.text import enumerate_briefly

NEEDED = {
    "celery": "whose workers run your app; pin it there",
    "redis": "which workers need with every broker; ask for celery[redis] in place of celery, and pin all it brings: "
    "`uv pip compile` writes every pin",
}
"""Package → why the app's requirements have to bring it."""


def app_mistakes(all_settings: Iterable[Settings]) -> Iterable[str]:
    """Mistakes in every app that some host's settings name. Reads the files; most hosts share one app, which is read once."""
    apps = dict.fromkeys(
        (settings.app_source, settings.app_requirements, settings.secrets_file, tuple(settings.app_exclude), settings.celery_app)
        for settings in all_settings
    )
    for app_source, app_requirements, secrets_file, exclude, celery_app in apps:
        try:
            yield from _layout_mistakes(Path(app_source), celery_app)
            yield from _mistakes_of(app_source, app_requirements, secrets_file, exclude)
        except SpecError as error:
            yield str(error)
        except (OSError, ValueError) as error:  # ValueError: a path with a null byte
            yield f"app_source: {app_source[:80]} is not readable: {error}"


def _layout_mistakes(source: Path, celery_app: str) -> Iterable[str]:
    """An app below src/, as in a src layout: it could not be imported from the folder above."""
    top = celery_app.partition(":")[0].partition(".")[0]
    if not _has_module(source, top) and _has_module(source / "src", top):
        yield f'app_source: {source} has no {top}, and {source / "src"} has: write "{source / "src"}"'


def _has_module(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file()


def _mistakes_of(app_source: str, app_requirements: str, secrets_file: str, exclude: Sequence[str]) -> Iterable[str]:
    source = Path(app_source)
    if not source.is_dir():
        yield f"app_source: no such folder: {app_source} (seen from {Path.cwd()}); write the path of the app's code"
        return
    if is_shipped(Path(secrets_file), source, exclude):
        yield f"secrets_file: {secrets_file} is inside app_source and would be shipped to every machine; move it"
    for folder in folders_beside(secrets_file):
        if folder.is_dir() and is_shipped(folder, source, exclude):
            yield f"secrets_file: {folder}, with private keys, is inside app_source and would be shipped everywhere; move both"
    requirements = source / app_requirements
    try:
        yield from source_mistakes(file for file in source_files(source, exclude) if file.path != requirements)
    except OSError as error:
        yield f"app_source: {error.filename}: {error.strerror}; make it readable, or name it in app_exclude"
    if not requirements.is_file():
        locks = [f'app_requirements = "{name}"' for name in pins.locks_beside(requirements)]
        advice = (
            f"write {' or '.join(locks)}, which is there"
            if locks
            else ("pin the app's requirements there, e.g. with `uv pip compile --universal --generate-hashes`")
        )
        yield f"app_requirements: no such file: {_plain(requirements)}; {advice}"
        return
    try:
        text = pins.text_of(requirements)
    except pins.PinsError as error:
        yield f"app_requirements: {error}"
        return
    except OSError as error:
        yield f"{_plain(requirements)}: {error.strerror}"
        return
    if names := unpinned(text):
        loose = enumerate_briefly(names)
        yield f"{_plain(requirements)}: not pinned with ==: {loose}; the same release must be the same everywhere"
    for name in NEEDED.keys() - entries(text).keys():
        yield f"{_plain(requirements)}: no {name}, {NEEDED[name]}"


def _plain(path: Path) -> str:
    """A path as a user would write it: app/src/../requirements.txt is app/requirements.txt."""
    return os.path.normpath(path)


def is_shipped(file: Path, source: Path, exclude: Iterable[str]) -> bool:
    """Whether a file or folder is in a release of the app, or would be."""
    inside, top = file.resolve(), source.resolve()
    if not inside.is_relative_to(top):
        return False
    return not any(fnmatch(part, pattern) for part in inside.relative_to(top).parts for pattern in exclude)
