"""`fleet k8s`: what is written, what is printed, and what is refused."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.kubernetes.bundle import HEAD, documents
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
        "k8s: wrote 6 of 6 files",
        "Next:",
        f"  fleet k8s prod.py {' '.join((*IMAGE, *SIZE))} --namespace shop --secret | kubectl apply -f -",
        "  kubectl apply -k k8s/overlays/prod",
    ]
    (overlay,) = documents((project / KUSTOMIZATION).read_text())
    assert overlay["images"] == [
        {"name": "fleet-app", "newName": "registry.example.com/shop", "newTag": "1.2"},
        {"name": "fleet-redis", "newName": "redis", "newTag": "7.2-bookworm"},
    ]
    again = json.loads(fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--namespace", "shop", "--json").stdout)
    assert (len(again["files"]), again["changed"]) == (6, [])
    newer = json.loads(fleet(project, "k8s", "prod.py", "--image", "shop:1.3", *SIZE, "--namespace", "shop", "--json").stdout)
    assert newer["changed"] == [str(KUSTOMIZATION.relative_to("k8s"))], "the image is the overlay's"


@pytest.mark.long
def test_what_is_no_longer_written_is_named(project: Path) -> None:
    group = project / "group_data" / "web.py"
    before = group.read_text()
    scaled(project)
    assert "remove what is no longer" not in fleet(project, "k8s", "prod.py", *IMAGE, *SIZE).stdout
    group.write_text(before)
    (project / "k8s" / "base" / "of_mine.yaml").write_text("kind: ConfigMap\n")
    (project / "k8s" / "base" / "gpu.yaml").write_text(
        f"{HEAD}kind: Deployment\nmetadata:\n  name: celery-gpu\n  namespace: default\n"
    )
    done = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE)
    assert done.stdout.splitlines()[-3:] == [
        "Then remove what is no longer written:",
        "  kubectl delete apiservice/v1beta1.external.metrics.k8s.io clusterrole/fleet-exporter-reader "
        "clusterrolebinding/fleet-exporter-reader validatingadmissionpolicy/fleet-exporter-default "
        "validatingadmissionpolicybinding/fleet-exporter-default",
        "  kubectl delete --namespace default deployment/celery-gpu horizontalpodautoscaler/celery-web role/fleet-exporter "
        "rolebinding/fleet-exporter serviceaccount/fleet-exporter",
    ]
    assert {path.name for path in (project / "k8s" / "base").iterdir()} >= {"of_mine.yaml", "web.yaml"}
    assert not (project / "k8s" / "base" / "gpu.yaml").exists()
    again = json.loads(fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--json").stdout)
    assert (again["changed"], again["removed"], again["deletions"]) == ([], [], [])


@pytest.mark.long
def test_secrets_are_printed_and_in_no_file(project: Path) -> None:
    done = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--secret")
    assert done.returncode == 0, done.stderr
    assert {secret["metadata"]["name"]: sorted(secret["data"]) for secret in documents(done.stdout)} == {
        "celery-web": ["CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"],
        "fleet-exporter": ["broker-url"],
        "fleet-redis": ["users.acl"],
    }
    assert not (project / "k8s").exists()


@pytest.mark.long
def test_a_redis_with_tls_gets_a_certificate_for_its_names_there(project: Path) -> None:
    (project / "group_data" / "broker.py").write_text("broker = {'tls': True}\n")
    words = ("k8s", "prod.py", *IMAGE, *SIZE, "--namespace", "shop")
    refused = fleet(project, *words)
    assert refused.returncode == 2 and "fleet certificates INVENTORY" in refused.stderr, "lint knows what is missing"
    assert fleet(project, "certificates", "prod.py").returncode == 0
    done = fleet(project, *words)
    assert "s-tls/k8s-shop.pem: for fleet-redis, fleet-redis.shop.svc, fleet-redis.shop.svc.cluster.local, until" in done.stderr
    again = json.loads(fleet(project, *words, "--json").stdout)
    assert (again["changed"], again["notes"]) == ([], [])
    printed = documents(fleet(project, *words, "--secret").stdout)
    secret = {each["metadata"]["name"]: sorted(each["data"]) for each in printed}
    assert secret["fleet-redis"] == ["broker.key", "broker.pem", "ca.pem", "users.acl"]
    assert secret["fleet-broker-files"] == ["ca.pem"]
    (project / "s-tls" / "ca.key").unlink()
    assert fleet(project, *words).returncode == 0, "a certificate of one's own is used as it is"
    (project / "s-tls" / "k8s-shop.pem").unlink()
    missing = fleet(project, *words)
    assert missing.returncode == 1 and "put k8s-shop.pem and k8s-shop.key there, for fleet-redis" in missing.stderr


@pytest.mark.long
def test_two_inventories_do_not_share_a_base(project: Path) -> None:
    assert fleet(project, "k8s", "prod.py", *IMAGE, *SIZE).returncode == 0
    (project / "staging.py").write_text((project / "prod.py").read_text())
    done = fleet(project, "k8s", "staging.py", *IMAGE, *SIZE)
    assert (done.returncode, done.stderr) == (
        1,
        "k8s: has the manifests of ../prod.py, in the namespace default; name another folder with -o\n",
    )
    (project / "other_place").mkdir()
    (project / "other_place" / "prod.py").write_text((project / "prod.py").read_text())
    for words in (("Prod_.py",), ("prod.py", "--namespace", "two"), ("other_place/prod.py",)):
        if words[0] == "Prod_.py":
            (project / "Prod_.py").write_text((project / "prod.py").read_text())
        refused = fleet(project, "k8s", *words, *IMAGE, *SIZE)
        assert refused.returncode == 1 and "has the manifests of ../prod.py, in the namespace default" in refused.stderr, words
    assert fleet(project, "k8s", "staging.py", *IMAGE, *SIZE, "-o", "other").returncode == 0
    both = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--secret", "--json")
    assert (both.returncode, both.stdout) == (1, "")


@pytest.mark.long
def test_what_has_no_counterpart_is_said(project: Path) -> None:
    done = fleet(project, "k8s", "prod.py", "--explain", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("MemoryHigh"))
    assert line.split()[1:3] == ["-", "no"]
    rows = json.loads(fleet(project, "k8s", "prod.py", "--explain", "--json").stdout)
    assert {row["same"] for row in rows} == {"yes", "about", "no"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (SIZE, 1, "--image is missing: write a name with a tag or a digest"),
        (("--image", "Shop:1", *SIZE), 1, "--image Shop:1: write a name with a tag"),
        (("--image", "registry.example.com:5000/shop", *SIZE), 1, "--image registry.example.com:5000/shop: write a name"),
        (("--image", "a::b", *SIZE), 1, "--image a::b: write a name with a tag"),
        ((*IMAGE, *SIZE, "--kubernetes", "1.20"), 1, "--kubernetes 1.20: manifests are written for 1.35, 1.36, 1.37"),
        ((*IMAGE, *SIZE, "--kubernetes", "newest"), 1, "--kubernetes newest: manifests are written for"),
        ((*IMAGE, *SIZE, "--namespace", "My_Shop"), 1, "a namespace has small letters, digits and hyphens, 63 at most"),
        ((*IMAGE, "--assume", "cores=1,memory=10M"), 2, "nothing was written: fleet lint finds"),
    ],
)
def test_what_is_refused_writes_nothing(project: Path, words: tuple[str, ...], code: int, complaint: str) -> None:
    done = fleet(project, "k8s", "prod.py", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert complaint in done.stderr and "Traceback" not in done.stderr
    assert not (project / "k8s").exists()


@pytest.mark.long
def test_names_that_are_others_there_are_told(project: Path) -> None:
    (project / "group_data" / "web.py").rename(project / "group_data" / "Web_IO.py")
    data = project / "group_data" / "Web_IO.py"
    data.write_text(data.read_text().replace("web_worker", "Web_IO_worker"))
    (project / "prod.py").write_text((project / "prod.py").read_text().replace("web =", "Web_IO ="))
    done = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE)
    assert done.returncode == 0, done.stderr
    assert "note: Web_IO is web-io on Kubernetes" in done.stderr
    assert (project / "k8s" / "base" / "web-io.yaml").exists()


def scaled(project: Path) -> None:
    """Let the role scale."""
    (project / "group_data" / "web.py").write_text(
        "web_worker = {'queues': ['default'], 'concurrency': 4, 'kubernetes': {'scale': {'min': 1, 'max': 6}}}\n"
    )


@pytest.mark.long
def test_a_load_is_played(project: Path) -> None:
    scaled(project)
    done = fleet(project, "k8s", "prod.py", *SIZE, "--simulate", "burst", "--chart", "pods.svg", COLUMNS="90")
    assert done.returncode == 0, done.stderr
    title, _, first, second = done.stdout.splitlines()
    assert title.startswith("web: ") and title.endswith(" tasks of 5 s on 1 to 6 pods of 4 slots")
    assert (first.split("  ")[0], second.split("  ")[0]) == ("idle pods first", "the youngest first")
    assert "max 6" in (project / "pods.svg").read_text()
    (project / "load").write_text("# second, tasks a second\n0,0.1\n300,2\n600,0\n900,0\n")
    played = json.loads(fleet(project, "k8s", "prod.py", *SIZE, "--simulate", "load", "--json").stdout)["idle pods first"]
    assert 400 < played["tasks"] < 900
    assert max(number for _, number in played["pods"]) > 1
    assert not (project / "k8s").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--simulate", "storm"), "--simulate storm: no such file, and no load of that name; there are burst, wave, slow-drain"),
        (("--simulate", "burst", "--role", "wob"), "no role wob"),
        (("--simulate", "burst", "--task-seconds", "0"), "--task-seconds 0: write a number above 0"),
        (("--simulate", "bad"), "bad, line 2: write SECOND TASKS-A-SECOND, such as 60 12.5"),
        (("--simulate", "short"), "short: write at least two lines"),
        (("--simulate", "huge"), "at most 2,000,000 tasks are played"),
        (("--simulate", "burst", "--task-seconds", "0.0001"), "at most 2,000,000 tasks are played; give longer --task-seconds"),
        (("--chart", "x.svg"), "--role and --chart go with --simulate"),
    ],
)
def test_what_cannot_be_played(project: Path, words: tuple[str, ...], complaint: str) -> None:
    scaled(project)
    for name, text in {"bad": "0 1\n5 many\n", "short": "0 1\n", "huge": "0 1e6\n1e6 1\n"}.items():
        (project / name).write_text(text)
    done = fleet(project, "k8s", "prod.py", *SIZE, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr and "Traceback" not in done.stderr


@pytest.mark.long
def test_nothing_scales(project: Path) -> None:
    assert (
        "--role is missing: no role has kubernetes.scale" in fleet(project, "k8s", "prod.py", *SIZE, "--simulate", "wave").stderr
    )


@pytest.mark.long
def test_what_an_image_is_built_from(project: Path) -> None:
    (project / "app" / "app.py").write_text("x = 1\n")
    (project / "app" / "run").write_text("#!/bin/sh\n")
    (project / "app" / "run").chmod(0o755)
    words = ("k8s", "prod.py", *IMAGE, *SIZE, "--build", "image", "--python", "3.12")
    assert fleet(project, *words).returncode == 0
    text = (project / "image" / "Containerfile").read_text()
    assert "ARG PYTHON=3.12\n" in text
    build, final = text.split("\n\n")
    assert "gcc" in build and "gcc" not in final and "USER 10001:10001" in final
    assert (project / "image" / "src" / "app.py").read_text() == "x = 1\n"
    assert (project / "image" / "src" / "run").stat().st_mode & 0o777 == 0o755
    assert (project / "image" / "node" / "fleet_node" / "drain.py").exists()
    assert "celery==5.7.0" in (project / "image" / "requirements.txt").read_text()
    (project / "app" / "app.py").unlink()
    assert fleet(project, *words).returncode == 0
    assert not (project / "image" / "src" / "app.py").exists(), "what an earlier release had is not in the image"


@pytest.mark.long
def test_a_folder_of_somebody_else_s_stays(project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine" / "Containerfile").write_text("FROM scratch\n")
    words = ("k8s", "prod.py", *IMAGE, *SIZE)
    done = fleet(project, *words, "--build", "mine")
    assert done.returncode == 1
    assert "--build mine: no earlier --build wrote Containerfile, which is there; name a new folder" in done.stderr
    assert [path.name for path in (project / "mine").iterdir()] == ["Containerfile"]
    assert not (project / "k8s").exists(), "a build that is refused writes nothing"
    assert fleet(project, *words, "--build", "image").returncode == 0
    (project / "image" / "precious").write_text("")
    refused = fleet(project, *words, "--build", "image")
    assert refused.returncode == 1 and "no earlier --build wrote precious" in refused.stderr
    assert (project / "image" / "src").is_dir()
    for folder, complaint in ((".", "this command runs there"), ("app/image", "is inside app_source"), ("..", "runs there")):
        refused = fleet(project, *words, "--build", folder)
        assert refused.returncode == 1 and complaint in refused.stderr, folder


@pytest.mark.long
def test_a_manifest_is_whole_or_as_it_was(project: Path) -> None:
    words = ("k8s", "prod.py", *IMAGE, *SIZE)
    assert fleet(project, *words).returncode == 0
    base = project / "k8s" / "base"
    before = {path: path.read_bytes() for path in base.iterdir()}
    group = project / "group_data" / "web.py"
    group.write_text(group.read_text().replace("'concurrency': 1", "'concurrency': 2"))
    full = ["prlimit", "--fsize=2500", str(Path(sys.executable).parent / "fleet"), *words]
    done = subprocess.run(full, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "File too large" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert {path: path.read_bytes() for path in base.iterdir()} == before
    (base / "web.yaml").write_bytes(b"\xff")
    assert fleet(project, *words).returncode == 0, "a file that is no text is written anew"


@pytest.mark.long
def test_private_keys_come_into_no_image(project: Path) -> None:
    scaled(project)
    group = project / "group_data" / "all.py"
    (project / "app" / "conf").mkdir()
    (project / "s.env").rename(project / "app" / "conf" / "s.env")
    group.write_text(group.read_text() + "\nsecrets_file = 'app/conf/s.env'\napp_exclude = ['*.env']\n")
    done = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--build", "image")
    assert done.returncode == 1 and "app/conf/s-k8s/default, with private keys, would be inside app_source" in done.stderr
    assert not (project / "app" / "conf" / "s-k8s").exists() and not (project / "image").exists()


@pytest.mark.long
def test_a_folder_that_cannot_be_written_is_a_line(project: Path) -> None:
    (project / "k8s").write_text("")
    done = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr


@pytest.mark.long
def test_an_autoscaler_s_exporter_has_a_certificate(project: Path) -> None:
    scaled(project)
    done = fleet(project, "k8s", "prod.py", *IMAGE, *SIZE)
    assert done.returncode == 0, done.stderr
    assert "broker.pem: for fleet-exporter.default.svc" in done.stderr
    (authority,) = (each for each in documents((project / "k8s/base/exporter.yaml").read_text()) if each["kind"] == "APIService")
    assert base64.b64decode(authority["spec"]["caBundle"]) == (project / "s-k8s" / "default" / "ca.pem").read_bytes()
    printed = {
        each["metadata"]["name"]: each for each in documents(fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--secret").stdout)
    }
    assert printed["fleet-exporter-tls"]["type"] == "kubernetes.io/tls"
    key = (project / "s-k8s" / "default" / "broker.key").read_text()
    assert base64.b64decode(printed["fleet-exporter-tls"]["data"]["tls.key"]).decode() == key
    assert all(key not in path.read_text() for path in (project / "k8s").rglob("*.yaml"))
    assert json.loads(fleet(project, "k8s", "prod.py", *IMAGE, *SIZE, "--json").stdout)["changed"] == [], "made once"
