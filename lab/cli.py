"""`fleet lab …`: the commands."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lab import lab as labs
from lab import ssh as ssh_client
from lab.errors import InterruptedByUserError, LabError
from lab.interrupt import stop_on_signals
from lab.machines import DEFAULT_HOSTS
from lab.progress import Progress
from lab.state import Lab

app = typer.Typer(
    name="lab",
    help="A local fleet of real virtual machines, to try a deploy on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

NameOption = Annotated[str, typer.Option("--name", envvar="FLEET_LAB", help="The lab's name. Labs run side by side.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on stdout.")]
TimeoutOption = Annotated[float, typer.Option(min=1, help="Seconds that all machines together may take to boot.")]


@app.command()
def up(
    hosts: Annotated[str | None, typer.Option(help=f'Machines, "{DEFAULT_HOSTS}" if not given; memory: web1=1536.')] = None,
    name: NameOption = "lab",
    timeout: TimeoutOption = 300,
    as_json: JsonOption = False,
) -> None:
    """Start the lab's machines that do not run, and wait until each is up.

    The first call builds an image (about a minute); then four machines take about a minute on two cores.

    Exit code: 0, or 1 if a machine does not come up.

    Example: fleet lab up --hosts "broker1 web1 web2=1536"
    """
    with _errors(), stop_on_signals() as stop, Progress() as progress:
        lab = labs.up(name, hosts, timeout, progress, stop)
        progress.event(f"lab {name!r} is up: {', '.join(lab.hosts)}")
    _print_lab(lab, as_json=as_json)


@app.command()
def down(name: NameOption = "lab") -> None:
    """End the lab's machines and remove all files of the lab, its disks and keys too.

    Exit code: 0, also if there is no such lab; 1 if another command works on it.

    Example: fleet lab down --name try
    """
    with _errors():
        done = labs.down(name)
        typer.echo("\n".join(done) or f"lab {name!r}: nothing to end")


@app.command()
def status(name: NameOption = "lab", as_json: JsonOption = False) -> None:
    """Show each machine and whether it is up.

    Exit code: 0 if every machine is up, else 1.

    Example: fleet lab status --json
    """
    with _errors():
        machines = labs.status(name)
    if as_json:
        typer.echo(json.dumps({"name": name, "hosts": [asdict(host) for host in machines]}, indent=2))
    else:
        table = Table("host", "address", "ssh port", "pid", "memory", "state", "up for", box=None)
        for host in machines:
            seconds = "-" if host.seconds_up is None else f"{host.seconds_up} s"
            cells = (host.host, host.address, host.ssh_port, host.pid or "-", f"{host.memory_mb} MB", host.state, seconds)
            table.add_row(*map(str, cells))
        Console().print(table)
    if any(host.state != "up" for host in machines):
        raise typer.Exit(1)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def ssh(
    host: Annotated[str, typer.Argument(help="A machine of the lab, as in web1.")],
    command: Annotated[list[str] | None, typer.Argument(help="The command to run there. Without a command, you log in.")] = None,
    name: NameOption = "lab",
) -> None:
    """Log in to a machine, or run a command there. Write options before the host.

    Exit code: the command's, or ssh's own; 1 if the lab has no such machine.

    Example: fleet lab ssh web1 -- systemctl --failed
    """
    with _errors():
        lab = labs.existing(name)
        if host not in lab.hosts:
            raise LabError(f"lab {name!r} has no host {host!r}; it has {', '.join(lab.hosts)}")
        sys.stdout.flush()
        argv = ssh_client.argv(lab, lab.hosts[host], command or [])
        os.execvp(argv[0], argv)  # noqa: S606 (no shell: every word is the lab's own or the user's)


@app.command()
def reset(name: NameOption = "lab", timeout: TimeoutOption = 300, as_json: JsonOption = False) -> None:
    """Put every machine back to its state after the first boot, in seconds.

    Exit code: 0, or 1 if a machine does not come up.

    Example: fleet lab reset
    """
    with _errors(), stop_on_signals() as stop, Progress() as progress:
        lab = labs.reset(name, timeout, progress, stop)
        progress.event(f"lab {name!r} is fresh: {', '.join(lab.hosts)}")
    _print_lab(lab, as_json=as_json)


def _print_lab(lab: Lab, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(lab.model_dump(), indent=2))
    else:
        typer.echo(f"log in with: fleet lab ssh {next(iter(lab.hosts))}")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except LabError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except InterruptedByUserError:
        raise typer.Exit(130) from None
