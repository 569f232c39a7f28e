"""`fleet k8s`: what is written, what is printed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.kubernetes.bundle import documents
from fleet.spec import secrets
from tests.unit.fleet.cli.cli_support import fleet, make_project

IMAGE = ("--image", "registry.example.com/shop:1.2")
SIZE = ("--assume", "cores=4,memory=8G")
KUSTOMIZATION = Path("k8s/overlays/prod/kustomization.yaml")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path)
    secrets.ensure(tmp_path / "s.env")
    return tmp_path


def test_files_are_written_once(project: Path) -> None:
    done = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--namespace", "shop")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "k8s: wrote 4 of 4 files",
        f"Next: fleet k8s prod.py {' '.join(IMAGE)} --secret | kubectl apply -f - && kubectl apply -k k8s/overlays/prod",
    ]
    (overlay,) = documents((project / KUSTOMIZATION).read_text())
    assert (overlay["namespace"], overlay["images"]) == (
        "shop",
        [{"name": "fleet-app", "newName": "registry.example.com/shop", "newTag": "1.2"}],
    )
    again = json.loads(fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--namespace", "shop", "--json").stdout)
    assert (len(again["files"]), again["changed"]) == (4, [])
    newer = json.loads(fleet(project, "k8s", "prod.py", "--image", "shop:1.3", *SIZE, "--namespace", "shop", "--json").stdout)
    assert newer["changed"] == [str(KUSTOMIZATION.relative_to("k8s"))], "the image is the overlay's"


def test_secrets_are_printed_and_in_no_file(project: Path) -> None:
    done = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--secret")
    assert done.returncode == 0, done.stderr
    (secret,) = documents(done.stdout)
    assert (secret["metadata"]["name"], sorted(secret["data"])) == ("celery-web", ["CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"])
    assert not (project / "k8s").exists()


def test_what_has_no_counterpart_is_said(project: Path) -> None:
    done = fleet(project, "k8s", "prod.py", "--explain", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("MemoryHigh"))
    assert line.split()[1:3] == ["-", "no"]
    rows = json.loads(fleet(project, "k8s", "prod.py", "--explain", "--json").stdout)
    assert {row["same"] for row in rows} == {"yes", "about", "no"}


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (SIZE, 1, "--image is missing: write a name with a tag or a digest"),
        (("--image", "Shop:1", *SIZE), 1, "--image Shop:1: write a name with a tag"),
        ((*IMAGE, *SIZE, "--kubernetes", "1.20"), 1, "--kubernetes 1.20: manifests are written for 1.35, 1.36, 1.37"),
        ((*IMAGE, *SIZE, "--kubernetes", "newest"), 1, "--kubernetes newest: manifests are written for"),
        ((*IMAGE, *SIZE, "--namespace", "My_Shop"), 1, "a namespace has small letters, digits and hyphens: my-shop"),
        ((*IMAGE, "--assume", "cores=1,memory=10M"), 2, "nothing was written: fleet lint finds"),
    ],
)
def test_what_is_refused_writes_nothing(project: Path, words: tuple[str, ...], code: int, complaint: str) -> None:
    done = fleet(project, "k8s", "prod.py", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert complaint in done.stderr and "Traceback" not in done.stderr
    assert not (project / "k8s").exists()


def test_names_that_are_others_there_are_told(project: Path) -> None:
    (project / "group_data" / "web.py").rename(project / "group_data" / "Web_IO.py")
    data = project / "group_data" / "Web_IO.py"
    data.write_text(data.read_text().replace("web_worker", "Web_IO_worker"))
    (project / "prod.py").write_text((project / "prod.py").read_text().replace("web =", "Web_IO ="))
    done = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE)
    assert done.returncode == 0, done.stderr
    assert "note: Web_IO is web-io on Kubernetes" in done.stderr
    assert (project / "k8s" / "base" / "web-io.yaml").exists()
