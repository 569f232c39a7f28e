"""The error for wrong settings, and the mistake that several checks report."""

from collections.abc import Iterable, Mapping

from fleet.errors import FleetError
from fleet.spec.text import did_you_mean


class SpecError(FleetError):
    """The settings are wrong. str() is what the user reads: one mistake a line, each mistake once."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = list(dict.fromkeys(mistakes))
        super().__init__("\n".join(self.mistakes))


REMOVED = {"polling_interval": "workers look for the messages of dead ones without it"}
"""Settings of earlier versions → why they are gone."""


def unknown_setting(path: str, name: str, known: Iterable[str]) -> str:
    """The mistake that `name`, at `path`, is an unknown setting. It suggests the nearest known name, or lists all."""
    if name in REMOVED:
        return f"{path}: there is no such setting any more, since {REMOVED[name]}; leave it out"
    return f"{path}: unknown setting; " + (did_you_mean(name, known) or f"known here: {', '.join(sorted(known))}")


def placed(mistake: str, places: Mapping[str, tuple[str, ...]]) -> str:
    """The mistake, with file and line before it if it is known where its setting is set. places: see `Inventory`."""
    path = mistake.partition(":")[0]
    while path and path not in places:
        path = path.rpartition(".")[0]
    return f"{' and '.join(places[path])}: {mistake}" if path else mistake
