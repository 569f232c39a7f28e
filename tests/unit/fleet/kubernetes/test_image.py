"""The Containerfile's own steps, run here: no image, and the same folders with the same programs in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.kubernetes import image
from tests.unit.fleet.kubernetes.kubernetes_support import BATCH, cluster_of
from tests.unit.process_support import ROOT

SHOP = ROOT / "examples" / "shop"
STEP = re.compile(r"^(COPY|RUN) (.+)$", re.M)


@pytest.mark.long
def test_what_is_built_runs_the_app_and_the_exporter(tmp_path: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    cluster = cluster_of({"batch": BATCH}, app_source=str(SHOP), celery_app="shop.app")
    context, app = tmp_path / "context", tmp_path / "image" / "app"
    for file in image.context(cluster, version):
        (context / file.path).parent.mkdir(parents=True, exist_ok=True)
        (context / file.path).write_bytes(file.content)
    app.mkdir(parents=True)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "python").symlink_to(sys.executable)
    build, _, last = (context / "Containerfile").read_text().partition("\nFROM python:${PYTHON}-slim-bookworm\n")
    assert "gcc" in build and "gcc" not in last, "no compiler in what runs"
    for kind, words in STEP.findall(build):
        here = words.replace("/app", str(app)).replace("/opt/uv", str(tmp_path / "uv"))
        if kind == "COPY":
            *sources, target = here.split()
            for source in sources:
                copy(context / source, app / target / source if target == "./" else app / target)
        elif "apt-get" not in words:  # the compilers are this machine's
            environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
            done = subprocess.run(["sh", "-c", here], cwd=app, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    python = app / "venv/bin/python"
    worker = "import shop.app, fleet_node.worker, celery; print(celery.__version__)"
    assert run(f"{app}/src:{app}/node", python, "-c", worker).count(".") == 2
    usage = run(f"{app}/exporter:{app}/exporter-packages:{app}/node", python, "-m", "fleet_exporter", "--help")
    assert "Metrics of a fleet" in usage


def copy(source: Path, target: Path) -> None:
    """As a Containerfile does."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def run(path: str, *words: str | Path) -> str:
    """What a program of the image prints. path: its PYTHONPATH."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
