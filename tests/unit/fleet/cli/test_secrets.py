"""`fleet secrets`: a secret changes, and the fleet is asked who has the new value."""

import json
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from fleet.cli.main import app
from fleet.errors import FleetError
from fleet.spec import secrets
from fleet.spec.secrets import BROKER_MONITOR, BROKER_NAMES, BROKER_WORKER, COOKIE, REDIS_NAMES
from tests.unit.fleet.cli.cli_support import make_project
from tests.unit.fleet.cli.native_support import PASSWORDS, Project


def fleet(folder: Path, *words: str, stdin: str = "") -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command that is run in a folder, in this process: it is the quicker."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        done = CliRunner().invoke(app, ["secrets", *words], input=stdin)
    error = f"{done.exception}\n" if isinstance(done.exception, FleetError) else ""
    return done.exit_code, done.stdout, done.stderr + error


def test_a_new_password_and_what_to_do_next(tmp_path: Path) -> None:
    assert fleet(tmp_path, "s.env")[0] == 0
    before = secrets.read(tmp_path / "s.env")[BROKER_WORKER]
    code, stdout, stderr = fleet(tmp_path, "s.env", "--rotate", BROKER_WORKER)
    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == [
        "s.env: a new BROKER_WORKER_PASSWORD, and the one before",
        "  1. pyinfra INVENTORY deploy.py: the broker accepts both, and workers get the new one in steps",
        "  2. give the new URL to everything else that sends tasks: fleet urls INVENTORY",
        "  3. fleet secrets INVENTORY --finish BROKER_WORKER_PASSWORD, and deploy again: the one before ends",
    ]
    known = secrets.read(tmp_path / "s.env")
    assert known[f"{BROKER_WORKER}_BEFORE"] == before
    assert known[BROKER_WORKER] not in stdout
    code, stdout, stderr = fleet(tmp_path, "s.env", "--rotate", BROKER_WORKER)
    assert (code, stdout) == (1, "")
    assert "is there from a rotation that is not finished" in stderr
    assert secrets.read(tmp_path / "s.env") == known
    _, stdout, _ = fleet(tmp_path, "s.env", "--rotate", BROKER_MONITOR, "--json")
    assert json.loads(stdout)["rotated"] == BROKER_MONITOR


def test_a_secret_of_the_users_own_is_read_from_stdin(tmp_path: Path) -> None:
    (tmp_path / "s.env").touch(mode=0o600)
    (tmp_path / "s.env").write_text("DATABASE_URL=postgresql://shop:old@db/shop\n")
    code, stdout, stderr = fleet(tmp_path, "s.env", "--rotate", "DATABASE_URL", stdin="postgresql://shop2:new@db/shop\n")
    assert (code, stderr) == (0, "")
    assert "the server that it is for has to accept both values until then" in stdout
    assert "new@db" not in stdout
    assert secrets.read(tmp_path / "s.env")["DATABASE_URL"] == "postgresql://shop2:new@db/shop"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("s.env", "--finish", "A"), "name the inventory in place of s.env"),
        (("s.env", "--rotate", "A", "--finish", "A"), "name one of them"),
        (("s.env", "--rotate", "A", "--dry"), "go with --finish"),
        (("s.env", "--rotate", "B"), "s.env: has no B; it has A"),
        (("s.env", "--rotate", "A"), "no new value came"),
        (("none.env", "--rotate", "A"), "no such file"),
    ],
)
def test_mistakes_are_a_line_and_change_nothing(tmp_path: Path, words: tuple[str, ...], complaint: str) -> None:
    (tmp_path / "s.env").touch(mode=0o600)
    (tmp_path / "s.env").write_text("A=1\n")
    code, stdout, stderr = fleet(tmp_path, *words)
    assert (code, stdout) == (1, "")
    assert complaint in stderr and len(stderr.splitlines()) == 1
    assert (tmp_path / "s.env").read_text() == "A=1\n"


def test_nothing_is_made_for_a_broker_of_others(tmp_path: Path) -> None:
    make_project(tmp_path)
    (tmp_path / "prod.py").write_text("web = ['web1']\n")
    with (tmp_path / "group_data" / "all.py").open("a") as file:
        file.write("broker = {'url': '@BROKER_URL'}\n")
    assert "s.env: no such file; write it with BROKER_URL=…, and run: chmod 600 s.env" in fleet(tmp_path, "prod.py")[2]
    (tmp_path / "s.env").touch(mode=0o600)
    (tmp_path / "s.env").write_text("OTHER=1\n")
    assert "s.env: BROKER_URL is missing; add the line BROKER_URL=…" in fleet(tmp_path, "prod.py")[2]
    content = f"BROKER_URL=rediss://shop:old@10.0.0.5/0\n{BROKER_WORKER}=left\n"
    (tmp_path / "s.env").write_text(content)
    assert fleet(tmp_path, "prod.py")[:2] == (0, "s.env: has all that the broker needs\n")
    assert "the broker is not this fleet's" in fleet(tmp_path, "prod.py", "--rotate", BROKER_WORKER)[2]
    code, _, stderr = fleet(tmp_path, "prod.py", "--rotate", "BROKER_URL", stdin="rediss://shop:a/b@10.0.0.5/0\n")
    assert code == 1 and "s.env: BROKER_URL is no URL" in stderr and "a/b" not in stderr
    assert (tmp_path / "s.env").read_text() == content
    assert fleet(tmp_path, "prod.py", "--rotate", "BROKER_URL", stdin="rediss://shop2:new@10.0.0.5/0\n")[0] == 0
    assert secrets.read(tmp_path / "s.env")["BROKER_URL"] == "rediss://shop2:new@10.0.0.5/0"


def test_an_inventory_gets_what_its_kind_of_broker_needs(tmp_path: Path) -> None:
    make_project(tmp_path)
    (tmp_path / "prod.py").write_text("broker = [('b', {'lan_address': '10.0.0.1'})]\nweb = ['web1']\n")
    assert fleet(tmp_path, "prod.py")[0] == 0
    assert tuple(secrets.read(tmp_path / "s.env")) == REDIS_NAMES
    with (tmp_path / "group_data" / "all.py").open("a") as file:
        file.write("broker = {'kind': 'rabbitmq'}\nresult_backend = 'none'\n")
    (tmp_path / "s.env").unlink()
    assert fleet(tmp_path, "prod.py")[0] == 0
    assert tuple(secrets.read(tmp_path / "s.env")) == (*BROKER_NAMES, COOKIE)


def test_a_url_of_results_that_does_not_parse_is_not_written_down(tmp_path: Path) -> None:
    make_project(tmp_path)
    (tmp_path / "prod.py").write_text("web = ['web1']\n")
    with (tmp_path / "group_data" / "all.py").open("a") as file:
        file.write("broker = {'url': '@BROKER_URL'}\nresult_backend = '@RESULT_URL'\n")
    (tmp_path / "s.env").touch(mode=0o600)
    (tmp_path / "s.env").write_text("BROKER_URL=amqp://shop:old@10.0.0.5/shop\nRESULT_URL=redis://:old@10.0.0.6/0\n")
    code, _, stderr = fleet(tmp_path, "prod.py", "--rotate", "RESULT_URL", stdin="redis://:a/b@10.0.0.6/0\n")
    assert code == 1 and "s.env: RESULT_URL is no URL" in stderr and "a/b" not in stderr
    for url in ("redis://:new@10.0.0.6/0", "postgresql://shop:a@db/results"):
        assert fleet(tmp_path, "prod.py", "--rotate", "RESULT_URL", stdin=url)[0] == 0
        assert secrets.read(tmp_path / "s.env")["RESULT_URL"] == url
        secrets.finish(tmp_path / "s.env", "RESULT_URL")


@pytest.mark.long
def test_the_fleet_is_asked_before_the_password_before_goes(started: Project) -> None:
    file = started.folder / "s.env"
    with Redis(port=started.here.port, username="worker", password=PASSWORDS["WORKER"]) as producer:
        producer.ping()
        # The age of a connection is in seconds.
        producer.blpop("nothing", timeout=2)
        assert started.fleet("secrets", "prod.py", "--rotate", BROKER_WORKER).returncode == 0
        known = secrets.read(file)

        load = started.fleet("load", "prod.py")
        assert load.returncode == 0, "commands use the password that the broker accepts"
        done = started.fleet("secrets", "prod.py", "--finish", BROKER_WORKER, "-y")
        assert done.returncode == 1
        assert "b does not accept the new value yet: deploy" in done.stderr

        with started.here.redis() as redis:
            redis.execute_command("ACL", "SETUSER", "worker", f">{known[BROKER_WORKER]}")
        dry = started.fleet("secrets", "prod.py", "--finish", BROKER_WORKER, "--dry", "--json")
        assert dry.returncode == 1
        look = json.loads(dry.stdout)
        assert not look["finished"]
        assert look["connections_before"] == {"b": 1}, "the producer's"
        assert look["machines"]["web1"].endswith("differs from what your files say: deploy")
        refused = started.fleet("secrets", "prod.py", "--finish", BROKER_WORKER, "-y")
        assert refused.returncode == 1
        assert secrets.read(file) == known
        asked = started.fleet("secrets", "prod.py", "--finish", BROKER_WORKER, "--force")
        assert "there is no terminal to ask on" in asked.stderr
        done = started.fleet("secrets", "prod.py", "--finish", BROKER_WORKER, "--force", "-y")
        assert (done.returncode, done.stdout) == (
            0,
            "s.env: forgot the BROKER_WORKER_PASSWORD before; it ends with: pyinfra prod.py deploy.py\n",
        )
        assert secrets.read(file) == {name: value for name, value in known.items() if not name.endswith(("_BEFORE", "_SINCE"))}
