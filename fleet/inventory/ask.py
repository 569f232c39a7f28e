"""The facts of every machine of an inventory, asked over SSH."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fleet.inventory import ssh
from fleet.plan.facts import SHELL, FactsError, MachineFacts, parse

_AT_ONCE = 32


def ask_machines(
    hosts: Mapping[str, Mapping[str, Any]], on_answer: Callable[[str], None] = lambda host: None
) -> dict[str, MachineFacts]:
    """The facts of every host (name → its inventory data), by one SSH command each, many at once.

    on_answer: called with the name of each host that was asked.
    Raises FactsError with a line for every machine that did not answer.
    """

    def facts_or_reason(host: str) -> MachineFacts | str:
        try:
            done = ssh.run(host, hosts[host], SHELL)
        except ssh.SSHError as error:
            return str(error)
        finally:
            on_answer(host)
        try:
            return parse(done.stdout.splitlines())
        except ValueError as error:
            complaints = done.stderr.strip().splitlines()
            return f"{host}: {complaints[-1] if complaints else error}"

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        answers = dict(zip(hosts, pool.map(facts_or_reason, hosts), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C no other machine is asked
    failures = [answer for answer in answers.values() if isinstance(answer, str)]
    if failures:
        raise FactsError("\n".join([*failures, "offline, say what the machines are: --assume cores=8,memory=16G,gpus=1"]))
    return {host: answer for host, answer in answers.items() if isinstance(answer, MachineFacts)}
