"""One run at a time, and a record of each: a lock and a history on the broker's machine, over SSH.

The lock's content and a line of the history are JSON objects: see `fleet.rollout.history`. Times are UTC, as in
2026-11-21T16:52:07Z.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from fleet.errors import FleetError
from fleet.inventory import ssh
from fleet.state.observed import STAMP
from fleet_node.protocol import STATE_FOLDER

DRILL = "FLEET_DRILL"
"""Environment variable of the runs of a drill: it marks them in the history."""
KILLED = "killed"
"""The outcome of a run that did not end by itself."""
_HELD, _CHANGED, _UNRECORDED = 75, 76, 77  # EX_TEMPFAIL, and the next


class LockError(FleetError):
    """Another run holds the lock, or the broker's machine could not be asked. str() is what the user reads."""


class UnrecordedError(LockError):
    """The lock was given back, and the history could not be written. str() is what the user reads."""


def describe_run(what: str) -> dict[str, Any]:
    """This run, as the lock's content."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    drill = {"drill": True} if os.environ.get(DRILL) else {}
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    return {"who": who, "pid": os.getpid(), "process": _process(os.getpid()), "at": now, "what": what, **drill}


def acquire_command(
    run: Mapping[str, Any], folder: str = STATE_FOLDER, stamp: str | None = None, killed: Mapping[str, Any] | None = None
) -> str:
    """sh that takes the lock, whole or not at all. stamp: of the history when this run was planned. killed: a run that holds the
    lock and is not alive any more; it is recorded as killed.

    If another run holds the lock, the command prints its content and exits with 75. If the history has another stamp by now, it
    exits with 76.
    """
    lock = shlex.quote(f"{folder}/lock")
    check = take_over = ""
    is_same = f'[ "$({STAMP.format(folder=folder)})" = {shlex.quote(stamp)} ]' if stamp is not None else "true"
    if killed is not None:
        entry = shlex.quote(json.dumps({**killed, "outcome": KILLED}))
        take_over = (
            f"exec 9>{lock}.taken-over; flock 9 || exit; "
            f'if [ "$(cat {lock} 2>/dev/null)" = {shlex.quote(json.dumps(killed))} ]; then {is_same} || exit {_CHANGED}; '
            f"printf '%s\\n' {entry} >>{shlex.quote(folder)}/history.jsonl && rm -f {lock} || exit; fi; "
        )
    elif stamp is not None:
        check = f" && {{ {is_same} || {{ rm -f {lock}; exit {_CHANGED}; }}; }}"
    # The file is written first and linked then: a full disk leaves no half of a lock, and its error is reported as such.
    return (
        f"umask 077; mkdir -p -m 750 {shlex.quote(folder)} || exit; new={lock}.$$; trap 'rm -f \"$new\"' EXIT; "
        f"printf '%s\\n' {shlex.quote(json.dumps(run))} >\"$new\" || exit; {take_over}"
        f'ln "$new" {lock} 2>/dev/null || {{ [ -e {lock} ] && cat {lock} && exit {_HELD}; exit 1; }}{check}'
    )


def release_command(run: Mapping[str, Any], entry: str, folder: str = STATE_FOLDER) -> str:
    """sh that appends the history entry on stdin to the history, and removes the lock if it is still this run's.

    The entry comes on stdin, since one argument of a command holds 128 KiB and a long rollout has more to say. entry: the same
    text. If less of it arrives (the connection is lost), the command changes nothing and exits with 1. If the history cannot be
    written, the lock is removed all the same: the command prints why, and exits with 77.
    """
    lock, history = (shlex.quote(f"{folder}/{name}") for name in ("lock", "history.jsonl"))
    content, digest = shlex.quote(json.dumps(run)), sha256(entry.encode()).hexdigest()
    return (
        f'umask 077; entry=$(cat); [ "$(printf %s "$entry" | sha256sum | cut -c-64)" = {digest} ] || exit 1; '
        f"{{ printf '%s\\n' \"$entry\" >>{history}; }} 2>&1 || unrecorded=1; "
        f'[ "$(cat {lock} 2>/dev/null)" != {content} ] || rm -f {lock} || exit; [ -z "${{unrecorded-}}" ] || exit {_UNRECORDED}'
    )


def explain(held: str, inventory: str) -> str:
    """Who holds the lock, since when, and what to do. held: the lock's content."""
    try:
        run = json.loads(held)
        who, pid, at, what = run["who"], run["pid"], run["at"], run["what"]
    except (ValueError, KeyError, TypeError):
        return f"another run holds the lock, which says {held[:100]!r}; if none is at work: fleet unlock {inventory}"
    gone = who.endswith(f"@{socket.gethostname()}") and not _is_alive(pid)
    state = "that process is not running any more" if gone else "if it has ended"
    return f"{what} by {who} (process {pid}) holds the lock since {at}; {state}: fleet unlock {inventory}"


def is_gone(held: str) -> bool:
    """Whether the run that holds the lock was a process of this machine, and is not alive any more. held: the lock's content.

    Machines may have the same name, and processes the same number: another boot or another container is not this machine.
    """
    try:
        run = json.loads(held)
        machine, _, started = run["process"].rpartition(" ")
        now, _, started_now = _process(int(run["pid"])).rpartition(" ")
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(machine) and machine == now and started != started_now


def _process(pid: int) -> str:
    """A process as no other is: the boot of the machine, the namespace of process numbers, and when it began (0 if it has
    ended). Empty where there is no Linux."""
    try:
        boot, namespace = Path("/proc/sys/kernel/random/boot_id").read_text().strip(), Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return ""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{boot} {namespace} {0 if state in 'ZX' else fields[18]}"
    except OSError:
        return f"{boot} {namespace} 0"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def ask(
    host: str, data: Mapping[str, Any], command: str, stdin: str | None = None, timeout: float = ssh.PATIENCE
) -> tuple[int, str]:
    """Run sh on a machine, as root if the inventory says _sudo: (exit code, stdout). timeout: seconds. Raises LockError."""
    try:
        done = ssh.run(host, data, ssh.as_root(data, command), stdin, timeout)
    except ssh.SSHError as error:
        raise LockError(str(error)) from None
    if done.returncode not in (0, _HELD, _CHANGED, _UNRECORDED):
        raise LockError(f"{host}: {(done.stderr.strip().splitlines() or ['no answer over SSH'])[-1]}")
    return done.returncode, done.stdout


def acquire(host: str, data: Mapping[str, Any], run: Mapping[str, Any], inventory: str, stamp: str | None) -> str:
    """Take the lock, also from a run that was killed on this machine. stamp: of the history when this run was planned.

    Returns whose lock it took over, in words; empty if it was free. Raises LockError if another run holds it, which it names, or
    has ended since: what is planned may then be for machines as they were.
    """
    taken_over = ""
    code, output = ask(host, data, acquire_command(run, stamp=stamp))
    if code == _HELD and is_gone(output):
        killed = json.loads(output)
        taken_over = f"{killed['what']} by {killed['who']} (process {killed['pid']}) was killed: its lock was taken over"
        code, output = ask(host, data, acquire_command(run, stamp=stamp, killed=killed))
    if code == _HELD:
        raise LockError(explain(output, inventory))
    if code == _CHANGED:
        raise LockError(f"another run has ended since this one was planned (fleet history {inventory}): run it again")
    return taken_over


def release(host: str, data: Mapping[str, Any], run: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    """Record how the run ended, and give the lock back. entry: its history entry. Raises LockError if it is still held, and
    UnrecordedError if the history could not be written."""
    text = json.dumps(entry)
    code, output = ask(host, data, release_command(run, text), text)
    if code == _UNRECORDED:
        reason = (output.strip().splitlines() or ["not written"])[-1]
        raise UnrecordedError(f"{host}: {STATE_FOLDER}/history.jsonl: {reason}; this run is not in the history")


def read_history(host: str, data: Mapping[str, Any], file: str = f"{STATE_FOLDER}/history.jsonl") -> list[dict[str, Any]]:
    """The runs so far, oldest first. Lines that are no entries are left out."""
    _, output = ask(host, data, f"cat {file} 2>/dev/null || true")
    runs = []
    for line in output.splitlines():
        try:
            runs.append(json.loads(line))
        except ValueError:
            continue
    return [run for run in runs if isinstance(run, dict)]


def read_lock(host: str, data: Mapping[str, Any]) -> str:
    """The lock's content; empty if there is none."""
    return ask(host, data, f"cat {STATE_FOLDER}/lock 2>/dev/null || true")[1].strip()


def is_at_work(held: str) -> bool:
    """Whether the run that holds the lock is a process of this machine that is alive."""
    try:
        run = json.loads(held)
        return str(run["who"]).endswith(f"@{socket.gethostname()}") and _is_alive(run["pid"])
    except (ValueError, KeyError, TypeError):
        return False


def break_lock(host: str, data: Mapping[str, Any]) -> str:
    """Remove the lock, and record that its run was killed. Returns its content; empty if there was none."""
    lock = f"{STATE_FOLDER}/lock"
    held = ask(host, data, f"cat {lock} 2>/dev/null; rm -f {lock}")[1].strip()
    try:
        run = json.loads(held)
    except ValueError:
        return held
    if isinstance(run, dict):
        line = shlex.quote(json.dumps({**run, "outcome": KILLED}))
        ask(host, data, f"umask 077; printf '%s\\n' {line} >>{STATE_FOLDER}/history.jsonl")
    return held
