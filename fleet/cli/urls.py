"""`fleet urls`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import typer

from fleet.cli.arguments import InventoryFile, Json, say
from fleet.inventory.read import read_inventory
from fleet.spec import endpoint
from fleet.spec.certificates import paths_of
from fleet.spec.fleet import Fleet
from fleet.spec.load import load_fleet


def show_urls(file: InventoryFile, as_json: Json = False) -> None:
    """Print the settings with which a program outside of the fleet sends tasks and reads results. They contain a password.

    CELERY_BROKER_URL and CELERY_RESULT_BACKEND are the variables that Celery reads by itself, with addresses of the fleet's
    network. Keep them as you keep the secrets file: (umask 077; fleet urls inventory/prod.py > shop.env)

    Exit code: 0; 1 if a setting or the secrets file is wrong.

    Example: fleet urls inventory/prod.py
    """
    fleet = load_fleet(read_inventory(file))
    known = endpoint.broker_secrets(fleet)
    variables = endpoint.celery_variables(fleet, known)
    settings = _settings(fleet, known)
    files = {
        str(there): str(here)
        for there, here in zip(endpoint.ON_MACHINES, paths_of(fleet), strict=True)
        if here and (there == endpoint.ON_MACHINES[0] or fleet.own_broker is None)
    }
    if as_json:
        typer.echo(json.dumps({**variables, **settings, "files": files}))
        return
    for name, value in variables.items():
        typer.echo(f"{name}={shlex.quote(value)}")
    for name, value in settings.items():
        say(f"and in Celery's settings: {name} = {value!r}")
    for there, here in files.items():
        say(f"copy {here} to {there} there, or write where it is in place of that")


def _settings(fleet: Fleet, known: Mapping[str, str]) -> dict[str, Any]:
    """What the URLs cannot say, by the names of Celery's settings."""
    settings: dict[str, Any] = endpoint.tls_settings(fleet, known)
    if fleet.master_name:
        options = {"master_name": fleet.master_name}
        settings |= {"broker_transport_options": options, "result_backend_transport_options": options}
    return settings
