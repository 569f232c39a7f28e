"""`fleet certificates`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fleet.cli.arguments import InventoryFile, Json
from fleet.errors import FleetError
from fleet.inventory.read import read_inventory
from fleet.spec import certificates
from fleet.spec.load import load_fleet


def make_certificates(
    file: InventoryFile,
    renew: Annotated[bool, typer.Option("--renew", help="Make a new certificate, also if the present one is good.")] = False,
    as_json: Json = False,
) -> None:
    """Make the certificates that the fleet's own broker shows, and renew those that end within 30 days.

    They are next to the secrets file: secrets/prod-tls for secrets/prod.env. The next deploy brings them to the machines, and
    restarts it with a new one. To use your own, put ca.pem, broker.pem and broker.key there.

    Exit code: 0; 1 if a setting is wrong, or a file cannot be read or written.

    Example: fleet certificates inventory/prod.py
    """
    fleet = load_fleet(read_inventory(file))
    if fleet.own_broker is None:
        raise FleetError("the broker is not this fleet's: its certificate is its owner's")
    folder = certificates.folder_of(fleet)
    written = certificates.make(folder, certificates.names_of(fleet), renew)
    ends = {name: end.isoformat() for name, end in certificates.ends(folder).items()}
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "written": written, "ends": ends}, indent=1))
        return
    for line in written or [f"{folder}: all is there; {', '.join(f'{name} ends on {end[:10]}' for name, end in ends.items())}"]:
        typer.echo(line)
    if not fleet.own_broker.tls:
        typer.echo('nothing uses them yet: write "tls": True, or "both", in group_data/broker.py')
