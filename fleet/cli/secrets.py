"""`fleet secrets`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.cli.arguments import Json, say
from fleet.errors import FleetError
from fleet.inventory.read import read_inventory
from fleet.observe import rotation
from fleet.observe.rotation import NEW, Holders
from fleet.spec import endpoint, secrets
from fleet.spec.fleet import Fleet
from fleet.spec.load import load_fleet
from fleet.spec.secrets import BROKER_ADMIN, BROKER_MONITOR, BROKER_WORKER, FLOWER, GENERATED
from fleet.spec.text import count
from fleet.spec.urls import REFERENCE


def make_secrets(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The secrets file, e.g. secrets/prod.env; or the inventory that names it.")
    ],
    rotate: Annotated[
        str | None,
        typer.Option(help="Write a new value of NAME beside the present one, which is accepted until --finish.", metavar="NAME"),
    ] = None,
    finish: Annotated[
        str | None,
        typer.Option(help="Ask the fleet who has the new value of NAME, and forget the one before.", metavar="NAME"),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="With --finish: show who has which value, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="With --finish: do not ask whether all others have it.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --finish: forget the value before, whoever has it.")] = False,
    as_json: Json = False,
) -> None:
    """Add the broker's passwords, freshly generated, to a secrets file that only you can read; or change a secret without a gap.

    --rotate NAME, then a deploy: the fleet's servers accept both passwords, and workers get the new one in steps. Then give it to
    your producers. --finish NAME, then a deploy: the password before ends. A secret of your own takes its new value from a
    prompt, or from stdin. Each step can be repeated, and nothing is harmed if the next one never comes.

    Exit code: 0; 1 if the file cannot be read or written, or if somebody still has the value before.

    Example: fleet secrets inventory/prod.py --rotate BROKER_WORKER_PASSWORD
    """
    is_inventory = file.suffix == ".py"
    if rotate and finish:
        raise FleetError("--rotate begins a change, and --finish ends it: name one of them")
    if not finish and (dry or yes or force):
        raise FleetError("--dry, -y and --force go with --finish")
    if finish:
        if not is_inventory:
            raise FleetError(f"name the inventory in place of {file}: --finish asks the fleet who has the new value")
        _finish(file, finish, dry, yes, force, as_json)
        return
    fleet = load_fleet(read_inventory(file)) if is_inventory else None
    path = Path(fleet.settings.secrets_file) if fleet else file
    if rotate:
        known = secrets.read(path)
        secrets.require_rotatable(path, known, rotate)
        _refuse_foreign(rotate, fleet)
        value = None if secrets.is_generated(rotate) else _new_value(rotate).strip()
        if fleet and value:
            _refuse_no_url(fleet, known, rotate, value)
        secrets.rotate(path, rotate, value)
        steps = list(_steps(rotate, fleet, str(file) if is_inventory else "INVENTORY"))
        _print(as_json, {"file": str(path), "rotated": rotate, "next": steps}, [f"{path}: a new {rotate}, and the one before"])
        if not as_json:
            for number, step in enumerate(steps, 1):
                typer.echo(f"  {number}. {step}")
        return
    if fleet and fleet.own_broker is None:
        # Nothing is made: each secret is somebody else's.
        if not path.exists():
            raise FleetError(f"{path}: no such file; {secrets.by_hand(path, fleet.secrets)}")
        secrets.require(path, secrets.read(path), fleet.secrets)
        added = []
    else:
        added = secrets.ensure(path, [name for name in GENERATED if fleet is None or name in fleet.secrets])
    line = f"{path}: added {', '.join(added)}" if added else f"{path}: has all that the broker needs"
    _print(as_json, {"file": str(path), "added": added}, [line])


def _refuse_no_url(fleet: Fleet, known: secrets.Secrets, name: str, value: str) -> None:
    """Raises SecretsError for a new URL of the broker or of the results that does not parse: it is not written down."""
    changed = {**known, name: value}
    if fleet.own_broker is None and name == fleet.broker_name:
        endpoint.broker(fleet, changed)
    elif fleet.settings.result_backend == f"{REFERENCE}{name}":
        endpoint.results(fleet, changed)


def _refuse_foreign(name: str, fleet: Fleet | None) -> None:
    """Raises FleetError for a password of the fleet's own broker, if the broker is somebody else's."""
    if fleet and fleet.own_broker is None and name in GENERATED:
        raise FleetError(
            f"{name}: the broker is not this fleet's, and nobody has this password; what changes is {fleet.broker_name}"
        )


def _steps(name: str, fleet: Fleet | None, inventory: str) -> Iterator[str]:
    """What to do after a new value of a name was written, in this order."""
    deploy = f"pyinfra {inventory} deploy.py"
    finish = f"fleet secrets {inventory} --finish {name}"
    if name == BROKER_WORKER:
        yield f"{deploy}: the broker accepts both, and workers get the new one in steps"
        yield f"give the new URL to everything else that sends tasks: fleet urls {inventory}"
    elif name in (BROKER_MONITOR, BROKER_ADMIN):
        yield f"{deploy}: the broker accepts both"
    elif name == FLOWER:
        yield f"{deploy}: Flower accepts both"
        yield "give the new one to those who use Flower"
    elif fleet and name in fleet.broker_secrets:
        yield f"{deploy}: workers get the new URL in steps; the server has to know both accounts until then"
        yield "give the new one to everything else that sends tasks"
    else:
        yield f"{deploy}: {_who(name, fleet)}; the server that it is for has to accept both values until then"
    if secrets.is_generated(name):
        yield f"{finish}, and deploy again: the one before ends"
    else:
        yield f"{finish}, and take the value before from the server that it is for"


def _who(name: str, fleet: Fleet | None) -> str:
    if fleet is None:
        return "those who name it in their secrets get the new one in steps"
    hosts = fleet.hosts.values()
    roles = dict.fromkeys(role for host in hosts for role, worker in host.workers.items() if name in worker.secrets)
    names = [f"the workers of {role}" for role in roles]
    names += ["beat"] if fleet.beat_hosts and name in fleet.beat.secrets else []
    names += ["Alertmanager"] if fleet.monitor_host and fleet.monitor.webhook == name else []
    verb = "get" if roles or len(names) > 1 else "gets"
    return f"{', '.join(names)} {verb} the new one" if names else "nobody in the fleet gets it"


def _new_value(name: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"the new {name}", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.read()


def _finish(file: Path, name: str, dry: bool, yes: bool, force: bool, as_json: bool) -> None:
    path = Path(load_fleet(read_inventory(file)).settings.secrets_file)
    secrets.require_rotation(path, secrets.read(path), name)
    holders = rotation.look(file, name)
    for line in _describe(holders):
        say(line)
    result = {"file": str(path), "name": name, **holders.as_json()}
    if dry:
        _print(as_json, {**result, "finished": False}, ["nothing was changed"])
        raise typer.Exit(1 if holders.hindrances else 0)
    if holders.hindrances and not force:
        raise FleetError(f"{path}: {name}{secrets.BEFORE} stays, because somebody has it, or might; --force forgets it")
    _confirm(name, yes, path)
    secrets.finish(path, name)
    if secrets.is_generated(name):
        line = f"{path}: forgot the {name} before; it ends with: pyinfra {file} deploy.py"
    else:
        line = f"{path}: forgot the {name} before; take it from the server that it was for"
    _print(as_json, {**result, "finished": True}, [line])


def _describe(holders: Holders) -> Iterator[str]:
    if having := [host for host, value in holders.machines.items() if value == NEW]:
        yield f"the new value is on {', '.join(having)}"
    yield from holders.hindrances
    for client, number in holders.other.items():
        yield f"{client} has {count(number, 'connection')}: with which value, the broker does not say"


def _confirm(name: str, yes: bool, path: Path) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise FleetError(f"{path}: nothing was changed, since there is no terminal to ask on; -y does not ask")
    # Who is not connected now cannot be known.
    if not typer.confirm(f"does everybody outside the fleet who uses {name} have the new value?", err=True):
        raise FleetError("nothing was changed")


def _print(as_json: bool, result: dict[str, Any], lines: list[str]) -> None:
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo("\n".join(lines))
