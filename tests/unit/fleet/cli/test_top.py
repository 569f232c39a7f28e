"""`fleet top`: what a user sees and does, of a fleet with a real Redis and real workers."""

import asyncio
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.top.dialogs import Question
from fleet.rollout import action
from fleet_node.protocol import CONSUMED
from tests.unit.fleet.cli.cli_support import make_project
from tests.unit.fleet.cli.native_support import FLEET, Project, project
from tests.unit.fleet.cli.top_support import opened
from tests.unit.fleet_node.delivery.lease_support import begun, ended, send, until
from tests.unit.process_support import ROOT, Machine

pytestmark = pytest.mark.long
QUIT, INTERRUPT = b"q", b"\x03"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A fleet with one worker, in a project that is the working directory."""
    with project(tmp_path) as fleet:
        fleet.here.start(fleet.here.release("r"), queues=("default", "quiet"))
        monkeypatch.chdir(fleet.folder)
        monkeypatch.setenv("XDG_STATE_HOME", str(fleet.folder / "kept"))
        monkeypatch.syspath_prepend(str(ROOT))
        yield fleet


def small(folder: Path) -> Project:
    """A fleet whose machines do not answer."""
    make_project(folder)
    (folder / "s.env").write_text("BROKER_WORKER_PASSWORD=a\nBROKER_MONITOR_PASSWORD=b\nBROKER_ADMIN_PASSWORD=c\n")
    (folder / "s.env").chmod(0o600)
    return Project(folder, Machine(folder, 0))


def history(made: Project) -> list[dict[str, Any]]:
    """The runs that the broker's machine has recorded, by the user's own command."""
    return [json.loads(line) for line in made.fleet("history", "prod.py", "--json").stdout.splitlines()]


def test_the_eight_things_on_a_small_screen(made: Project) -> None:
    async def see() -> None:
        with made.here.client() as client:
            for number in range(4):
                send(client, number, 60)
            for number in range(10, 16):
                send(client, number, 0, priority=3)
        assert until(lambda: len(begun(made.here)) == 4)
        async with opened(made, objectives={"default": 1}) as screen:
            assert await screen.shows("LATE  default: the oldest waits .* may wait 1s")  # 1: the verdict
            assert "→ raise concurrency or instances of web_worker, or add a machine" in screen.text
            assert await screen.shows(r"default +\d 3:\d +>?\d+s\S* +█████ over 1s +\d\.\d +\d\.\d never +1/1 min 1")  # 2
            assert re.search(r"broker \d+s +workers \d+s +machines \d+s", screen.text)
            page = await screen.press("2")  # 3
            assert re.search(r"web-worker-1@web1 +busy +■■■■ +4/4 +\d+/\d+/\d+ +\d+M/400M +drill \d+", page), page
            page = await screen.press("3")  # 4
            assert re.search(r"default +4 +\d +0 +0  - +0", page), page
            page = await screen.press("4")  # 5
            assert re.search(r"-15m +now", page) and re.search("waiting.*█ ", page), page
            await screen.press("5")  # 6
            assert await screen.shows(r"web +1/1 well  1 × r\b")
            assert "lock    free" in screen.text
            assert await screen.shows("drift   2 of 2 machines", 60), "it was not deployed"
            page = await screen.press("6")  # 7
            assert re.search(r"web1 .*[\d.]+[GM]/[\d.]+[GM] .*/400M", page), page
            await screen.press("1")
            page = await screen.press("P")  # 8: an action, refused
            assert "read-only: fleet top --allow-actions does this" in page
            page = await screen.press("question_mark")
            assert "needs --allow-actions" in page

    asyncio.run(see())
    assert history(made) == []


def test_names_are_no_markup(made: Project) -> None:
    async def use() -> None:
        with made.here.redis() as redis:
            for name in ("[/", "a\x1b[31m\nb"):
                redis.zadd(CONSUMED, {json.dumps([name, name]): 1})
                redis.rpush(name, json.dumps({"headers": {"task": name}}))
        async with opened(made, may_act=True) as screen:
            await screen.press("s")  # by name
            page = await screen.press("P")
            assert re.search(r"\[/: no worker that answers does +consume it", page), page
            assert re.search("a\ufffd\\[31m\ufffdb +1 ", page), page
            title = Question(action.pause("[/", ["web-worker-1@web1"], "", Path("prod.py")))
            await screen.app.push_screen(title)
            assert "pause queue [/" in await screen.press("x")
            assert "\x1b" not in screen.text

    asyncio.run(use())


def test_filter_sort_and_one_worker(made: Project) -> None:
    async def use() -> None:
        with made.here.client() as client:
            send(client, 0, 60)
        assert until(lambda: begun(made.here))
        async with opened(made) as screen:
            page = await screen.press("slash", *"quie", "enter")
            assert "Queues (1 of 2)" in page and "filter: quie" in page
            page = await screen.press("escape")
            assert "Queues (2)" in page
            assert "sort: worst" in page
            page = await screen.press("s")
            assert "sort: name" in page
            page = await screen.press("enter")
            assert re.search(r"Workers \(1\).*filter: quiet", page, re.DOTALL), "those that consume the queue"
            assert await screen.shows(r"web-worker-1@web1 +busy")
            page = await screen.press("enter")
            assert "celery-web@1.service on web1" in page
            assert re.search(r"heard by +systemd \d+s ago, connection \d+s ago, sign 0s ago", page)
            assert re.search(r"1 × fleet\.drill, the longest for \d+s", page)
            assert re.search(r"memory +\d+M of 400M", page)
            page = await screen.press("escape", "escape", "p")
            assert "PAUSED" in page

    asyncio.run(use())


def test_a_queue_is_paused_and_resumed_and_a_worker_drained(made: Project) -> None:
    async def act() -> None:
        async with opened(made, may_act=True) as screen:
            page = await screen.press("P")
            assert "Pause default? Its consumers (1 worker) take nothing more" in page
            assert "A worker that starts again" in page
            assert "fleet connect prod.py -- celery control --destination" in page
            await screen.press("n")
            assert history(made) == []
            await screen.press("P", "y")
            assert await screen.shows("paused 0/1 min 1"), screen.text
            assert "default is paused by" in await screen.press("v")
            await screen.press("escape")
            with made.here.client() as client:
                send(client, 1, 0)
                send(client, 2, 0, queue="quiet")
            assert await screen.shows(lambda _: 2 in ended(made.here))
            assert 1 not in begun(made.here)
            await screen.press("P")
            assert "Resume default" in screen.text, screen.text
            await screen.press("y")
            assert await screen.shows(lambda _: 1 in ended(made.here))
            assert await screen.shows(lambda page: page.count("1/1 min 1") == 2 and "paused" not in page), screen.text
            await screen.press("2", "D")
            assert "WARNING: default, quiet would have fewer consumers" in screen.text, screen.text
            await screen.press("y")
            assert await screen.shows("web-worker-1@web1 +dead"), screen.text

    asyncio.run(act())
    paused, resumed, drained = history(made)
    assert (paused["what"], paused["outcome"], paused["paused"]) == ("fleet top: pause queue default", "done", {"default": True})
    assert (resumed["what"], resumed["paused"]) == ("fleet top: resume queue default", {"default": False})
    assert (drained["what"], drained["outcome"]) == ("fleet top: drain web-worker-1@web1", "done")
    assert {"who", "at", "notes"} <= paused.keys()
    assert drained["notes"][0] == "on web1: systemctl stop --no-block celery-web@1.service"
    assert made.fleet("history", "prod.py", "--last").stdout.splitlines()[-1] == "web1: celery-web@1.service drains, and stops"


def test_an_action_while_a_run_is_at_work(made: Project) -> None:
    lock = made.folder.parent / "b" / "state" / "lock"
    lock.write_text(json.dumps({"who": "ops@desk", "pid": 1, "at": "2026-11-29T12:00:00Z", "what": "deploy.py"}))

    async def act() -> None:
        async with opened(made, may_act=True) as screen:
            await screen.press("P", "y")
            assert await screen.shows("pause queue default: not done"), screen.text
            await screen.press("5")
            assert await screen.shows("lock    deploy.py by ops@desk")

    asyncio.run(act())
    lock.unlink()
    assert history(made) == []


def test_the_command_that_an_action_prints_does_the_same(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(FLEET).parent}:{os.environ['PATH']}")
    words = shlex.split(action.pause("default", ["web-worker-1@web1"], "", Path("prod.py")).command)
    done = made.fleet(*words[1:])
    assert (done.returncode, done.stderr) == (0, "")
    assert made.json("queues", "prod.py", "--seconds", "0")["queues"]["default"]["consumers"] == 0


def test_a_fleet_that_does_not_answer_at_all(tmp_path: Path) -> None:
    made = small(tmp_path)
    code, output, restored = on_terminal(made, QUIT, "BROKEN")
    assert (code, restored) == (0, True), output[-2000:]
    assert "the broker's machine does not answer" in output


@pytest.mark.slow
def test_the_broker_and_a_worker_go_while_one_looks(made: Project) -> None:
    async def look() -> None:
        async with opened(made) as screen:
            assert "WELL" in screen.text
            (worker,) = made.here.running.values()
            worker.send_signal(signal.SIGSTOP)
            assert await screen.shows("BROKEN  web-worker-1@web1 is stopped")
            assert "→ on web1: systemctl kill -s CONT celery-web@1.service" in screen.text
            assert re.search(r"web-worker-1@web1 +stopped +\?\?\?\?", await screen.press("2"))
            worker.send_signal(signal.SIGCONT)
            assert await screen.shows("WELL")
            with made.here.redis() as redis:
                redis.shutdown(nosave=True)
            assert await screen.shows("BROKEN  the broker does not answer"), screen.text
            assert await screen.shows(r"broker \d+s old"), "what is old is shown as old"
            page = await screen.press("4")
            assert re.search("! .*web-worker-1@web1 is stopped", page)

    asyncio.run(look())


def test_a_user_without_a_terminal(tmp_path: Path) -> None:
    made = small(tmp_path)
    done = made.fleet("top", "prod.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "fleet load prod.py and fleet queues prod.py" in done.stderr


def test_settings_that_are_wrong(tmp_path: Path) -> None:
    made = small(tmp_path)
    (made.folder / "group_data" / "web.py").write_text("web_worker = {'queues': []}\n")
    code, output, _ = on_terminal(made, QUIT, "web_worker.queues")
    assert code == 2
    assert "Traceback" not in output


@pytest.mark.parametrize("key", [QUIT, INTERRUPT, signal.SIGTERM, signal.SIGHUP])
def test_it_leaves_nothing_behind(made: Project, key: "bytes | signal.Signals") -> None:
    code, output, restored = on_terminal(made, key, "WELL")
    assert code == 0, output[-2000:]
    assert restored
    assert output.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in output
    assert "Traceback" not in output
    assert until(lambda: not connections(made)), connections(made)
    colours = re.findall(r"\x1b\[[\d;]*m", output)
    assert [code for code in colours if re.search(r"[;\[](3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]", code)] == [], "NO_COLOR is set"


def connections(made: Project) -> list[str]:
    """The ssh processes to this fleet's machines."""
    lines = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if " ssh -p " in line and str(made.folder.parent) in line]


def on_terminal(made: Project, key: "bytes | signal.Signals", waits_for: str) -> tuple[int, str, bool]:
    """Run `fleet top` on a terminal of 80 × 24, and press a key, or send a signal, once it shows something.

    Returns its exit code, its output, and whether the terminal is as it was."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [FLEET, "top", "prod.py"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=made.folder,
        env={**made.environment, "TERM": "xterm-256color"}, start_new_session=True,
    )  # fmt: skip
    output, pressed, deadline = "", False, time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([ours], [], [], 0.1)[0]:
            output += os.read(ours, 65536).decode(errors="replace")
        if waits_for in output and not pressed:
            pressed = True
            if isinstance(key, bytes):
                os.write(ours, key)
            else:
                process.send_signal(key)
    while select.select([ours], [], [], 0.2)[0]:
        output += os.read(ours, 65536).decode(errors="replace")
    restored = termios.tcgetattr(theirs) == before
    if process.poll() is None:
        process.kill()
    code = process.wait()
    os.close(ours)
    os.close(theirs)
    return code, output, restored
