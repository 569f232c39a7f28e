"""What an operator does to a running fleet by hand: pause a queue, drain a worker. Each is recorded in the history."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.broker.port import opened
from fleet.errors import FleetError
from fleet.inventory import kubectl, ssh
from fleet.inventory.kubectl import ACCESS
from fleet.rollout.recorded import recorded
from fleet.spec.text import count

ANSWER = 2.0
"""Seconds that workers have to answer."""
JOURNAL_LINES = 200


class ActionError(FleetError):
    """Not done, or not by all. str() is what the user reads. partly: whether some have done it."""

    def __init__(self, message: str, partly: bool = False) -> None:
        super().__init__(message)
        self.partly = partly


@dataclass(frozen=True)
class Action:
    """what: for the history, e.g. "pause queue default". question: what the user is asked. consequences: what is so afterwards, a
    line each. command: what does the same by hand. run: does it; returns lines for the history. paused: see HistoryEntry.
    """

    what: str
    question: str
    consequences: tuple[str, ...]
    command: str
    run: Callable[[], list[str]]
    paused: Mapping[str, bool] = field(default_factory=dict)


def perform(action: Action, host: str, data: Mapping[str, Any], inventory: Path) -> list[str]:
    """Do it under the fleet's lock, and record it. host, data: the broker's machine. Returns what was done, in lines. Raises
    LockError if a run is at work, and ActionError if it was not done."""
    with recorded(f"fleet top: {action.what}", host, data, inventory) as record:
        record.notes.append(action.command)
        begun = False
        try:
            done = action.run()
            begun = True
        except ActionError as error:
            begun = error.partly
            raise
        finally:
            if action.paused and begun:
                record.others["paused"] = dict(action.paused)
        record.notes += done
    return done


def pause(queue: str, nodes: Collection[str], url: str, inventory: Path) -> Action:
    """Have workers take nothing more from a queue. nodes: that consume it now. url: of the broker, with the worker's user."""
    return Action(
        what=f"pause queue {queue}",
        question=f"Pause {queue}? Its consumers ({count(len(nodes), 'worker')}) take nothing more from it.",
        consequences=(
            "They finish what they have fetched. Producers go on: tasks wait in the queue.",
            "A worker that starts again (a deploy, restart.py, a crash) consumes it again.",
        ),
        command=_control(inventory, "cancel_consumer", queue, nodes),
        run=lambda: _tell("cancel_consumer", "takes nothing more from", queue, nodes, url),
        paused={queue: True},
    )


def resume(queue: str, nodes: Collection[str], url: str, inventory: Path) -> Action:
    """Have workers consume a queue again. nodes: that should consume it and do not."""
    return Action(
        what=f"resume queue {queue}",
        question=f"Resume {queue}, with {count(len(nodes), 'worker')}?",
        consequences=(),
        command=_control(inventory, "add_consumer", queue, nodes),
        run=lambda: _tell("add_consumer", "consumes", queue, nodes, url),
        paused={queue: False},
    )


def drain(node: str, unit: str, host: str, data: Mapping[str, Any], underserved: Iterable[str]) -> Action:
    """Have a worker finish what it holds, and stop. underserved: queues that have fewer consumers than they have to have then."""
    short = ", ".join(underserved)
    return Action(
        what=f"drain {node}",
        question=f"Drain {node}? It takes nothing more, finishes what it holds, and stops.",
        consequences=(
            *((f"WARNING: {short} would have fewer consumers than min_consumers.",) if short else ()),
            f"It stays down until a deploy, a reboot, or on {host}: systemctl start {unit}",
        ),
        command=f"on {host}: {_as_user(data, f'systemctl stop --no-block {unit}')}",
        run=lambda: _stop(unit, host, data),
    )


def journal(unit: str, host: str, data: Mapping[str, Any]) -> list[str]:
    """The last lines of a worker's journal, or of its pod's log. Raises ActionError and KubectlError."""
    if access := data.get(ACCESS):
        return kubectl.log(access, host, JOURNAL_LINES)
    done = _ssh(host, data, journal_command(unit))
    if done.returncode:
        raise ActionError(f"{host}: {_complaint(done)}")
    return done.stdout.splitlines()


def journal_shown(unit: str, host: str, data: Mapping[str, Any]) -> str:
    """What prints it, for people."""
    if access := data.get(ACCESS):
        return shlex.join(kubectl.log_command(access, host, JOURNAL_LINES))
    return f"on {host}: {journal_command(unit)}"


def journal_command(unit: str) -> str:
    """The shell command that prints it."""
    return f"journalctl -u {shlex.quote(unit)} -n {JOURNAL_LINES} --no-pager -o short-iso"


def _stop(unit: str, host: str, data: Mapping[str, Any]) -> list[str]:
    done = _ssh(host, data, f"systemctl stop --no-block {shlex.quote(unit)}")
    if done.returncode:
        raise ActionError(f"{host}: {_complaint(done)}")
    return [f"{host}: {unit} drains, and stops"]


def _tell(command: str, words: str, queue: str, nodes: Collection[str], url: str) -> list[str]:
    """Have workers consume a queue, or not. Raises ActionError if one of them does not answer."""
    from celery import Celery

    try:
        with opened(url) as port, Celery(broker=url, set_as_current=False) as app:
            app.conf.update(port.settings)
            replies = app.control.broadcast(
                command, arguments={"queue": queue}, destination=list(nodes), reply=True, timeout=ANSWER, limit=len(nodes)
            )
    except Exception as error:  # of kombu and of the broker
        raise ActionError(f"the workers were not told: {error}") from None
    told = {node for reply in replies or () for node, answer in reply.items() if "ok" in answer}
    missing = [node for node in nodes if node not in told]
    if missing:
        done = f"; {', '.join(sorted(told))} has done it" if told else ""
        raise ActionError(f"{queue}: no answer of {', '.join(missing)}{done}: try it again", partly=bool(told))
    return [f"{words} {queue}: {', '.join(sorted(nodes))}"]


def _control(inventory: Path, command: str, queue: str, nodes: Collection[str]) -> str:
    words = ["celery", "control", "--destination", ",".join(sorted(nodes)), command, queue]
    return f"fleet connect {shlex.quote(str(inventory))} -- {shlex.join(words)}"


def _as_user(data: Mapping[str, Any], command: str) -> str:
    return f"sudo {command}" if data.get("_sudo") else command


def _ssh(host: str, data: Mapping[str, Any], command: str) -> subprocess.CompletedProcess[str]:
    try:
        return ssh.run(host, data, ssh.as_root(data, command), timeout=30, connect_timeout=5)
    except ssh.SSHError as error:
        raise ActionError(str(error)) from None


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
