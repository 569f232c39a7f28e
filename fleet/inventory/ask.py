"""The facts of every machine of an inventory, asked over SSH."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fleet.inventory import ssh
from fleet.plan.facts import SHELL, FactsError, MachineFacts, parse

_AT_ONCE = 32
Answer = TypeVar("Answer")


def ask_machines(
    hosts: Mapping[str, Mapping[str, Any]], on_answer: Callable[[str], None] = lambda host: None
) -> dict[str, MachineFacts]:
    """The facts of every host. See try_machines. Raises FactsError with a line for every machine that did not answer."""
    answers, silent = try_machines(hosts, on_answer)
    if silent:
        raise FactsError(silence(silent))
    return answers


def try_machines(
    hosts: Mapping[str, Mapping[str, Any]], on_answer: Callable[[str], None] = lambda host: None
) -> tuple[dict[str, MachineFacts], dict[str, str]]:
    """The facts of every host that answers (name → its inventory data), by one SSH command each, many at once; and of every other
    one, why it did not.

    on_answer: called with the name of each host that was asked.
    """

    def facts_or_reason(host: str) -> MachineFacts | str:
        try:
            return answer(host, hosts[host], SHELL, parse)
        finally:
            on_answer(host)

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        answers = dict(zip(hosts, pool.map(facts_or_reason, hosts), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C no other machine is asked
    return (
        {host: answer for host, answer in answers.items() if isinstance(answer, MachineFacts)},
        {host: answer for host, answer in answers.items() if isinstance(answer, str)},
    )


def answer(
    host: str,
    data: Mapping[str, Any],
    command: str,
    parse: Callable[[list[str]], Answer],
    timeout: float = ssh.PATIENCE,
    connect_timeout: int = ssh.CONNECT_TIMEOUT,
) -> Answer | str:
    """What a machine answers to a shell command, as `parse` reads its lines (it raises ValueError if it cannot); or why it does
    not, in words. timeout, connect_timeout: as of ssh.run."""
    try:
        done = ssh.run(host, data, command, timeout=timeout, connect_timeout=connect_timeout)
    except ssh.SSHError as error:
        return str(error).removeprefix(f"{host}: ")
    try:
        return parse(done.stdout.splitlines())
    except ValueError as error:
        complaints = done.stderr.strip().splitlines()
        return complaints[-1] if complaints else str(error)


def silence(silent: Mapping[str, str]) -> str:
    """Lines for the user about machines that did not answer. silent: host → why."""
    return "\n".join(f"{host}: {reason}" for host, reason in silent.items())
