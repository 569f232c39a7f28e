"""`fleet top`: its arguments. The screen is loaded only then: it takes half a second."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Annotated

import typer

from fleet.cli.arguments import InventoryFile, KubeConfig, Namespace, looking
from fleet.errors import FleetError


class NoTerminalError(FleetError):
    """There is no terminal to draw on."""


def show_top(
    file: InventoryFile,
    interval: Annotated[
        float, typer.Option(help="Seconds between two looks at the broker and its workers.", min=0.5, max=60)
    ] = 2.0,
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="Let keys pause a queue and drain a worker; each asks first.")
    ] = False,
    kubeconfig: KubeConfig = None,
    namespace: Namespace = "default",
) -> None:
    """Watch the fleet on one screen: what is wrong and what to run next, queues, workers, tasks in flight, fifteen minutes of
    history, releases, and machines. ? shows the keys.

    It only looks. With --allow-actions, P pauses a queue and D drains a worker: both ask first, print the command that does the
    same, and are in the history. Machines are asked every 5 seconds, each over one connection that stays open.

    Exit code: 0; 2 if a setting is wrong, or there is no terminal.

    Example: fleet top inventory/prod.py
    """
    with looking():
        _require_terminal(str(file))
        if kubeconfig and allow_actions:
            raise FleetError("--allow-actions: what is done goes into the history, which a cluster has not: use kubectl")
        from fleet.kubernetes import pods
        from fleet.observe.watch import Watch

        watch = Watch(file, interval, partial(pods.survey, file, pods.access(kubeconfig, namespace)) if kubeconfig else None)
    from fleet.cli.top.app import TopApp

    screen = TopApp(watch, watch.fleet.settings.slo, allow_actions)
    try:
        watch.start()
        screen.run(mouse=False)
        screen.finish()
    finally:
        watch.close()
    if screen.return_code:
        raise typer.Exit(screen.return_code)


def _require_terminal(inventory: str) -> None:
    terminals = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.__stderr__))
    if not terminals or os.environ.get("TERM", "dumb") in ("", "dumb"):
        raise NoTerminalError(
            f"fleet top needs a terminal; for scripts and logs: fleet load {inventory} and fleet queues {inventory}, also --json"
        )
