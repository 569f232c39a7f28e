"""`fleet lint`, without its printing: inventory → facts → plan, the app beside it → findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleet.inventory.ask import ask_machines
from fleet.inventory.read import read_inventory
from fleet.lint import Finding, app, lint
from fleet.lint.app import App
from fleet.plan import facts
from fleet.plan.plan import Plan, resolved
from fleet.spec import secrets
from fleet.spec.fleet import Fleet
from fleet.spec.load import load_fleet
from fleet.spec.settings import Settings

Say = Callable[[str], None]


def run(file: Path, *, assume: str | None, python: Path | None, load_app: bool, say: Say) -> tuple[Plan, tuple[Finding, ...]]:
    """Lint the fleet of an inventory. Raises SpecError, SecretsError, FactsError or AppError, each with lines for the user."""
    found = read_inventory(file)
    fleet = load_fleet(found)
    known = _secrets(fleet)
    if assume is not None:
        machine = facts.assume(assume)
        machines = dict.fromkeys(fleet.hosts, machine)
    else:
        machines = ask_machines(found.hosts, _counted(len(found.hosts), say))
    plan = resolved(fleet, machines)
    return plan, lint(plan, apps(fleet, known, python, say) if load_app else ())


def apps(fleet: Fleet, found: secrets.Secrets, python: Path | None, say: Say) -> tuple[App, ...]:
    """Every app of the fleet, loaded here with what the workers that run it get as environment.

    Roles of one app may have environments of their own; here they are put together, the first role's before the others'.
    """
    environments: dict[tuple[str, str], dict[str, str]] = {}
    settings_of: dict[tuple[str, str], Settings] = {}
    for host in fleet.hosts.values():
        if not host.workers:
            continue
        settings = host.settings
        key = (settings.celery_app, settings.app_source)
        settings_of.setdefault(key, settings)
        known = environments.setdefault(key, dict(settings.environment))
        for worker in host.workers.values():
            for name, value in worker.environment.items():
                known.setdefault(name, value)
            for name in worker.secrets:
                if name in found:
                    known.setdefault(name, found[name])
    loaded = []
    for key, settings in settings_of.items():
        source = Path(settings.app_source)
        used = python or app.venv(source / settings.app_requirements, fleet.pools, say)
        loaded.append(app.load(settings.celery_app, source, used, environments[key], say))
    return tuple(loaded)


def _secrets(fleet: Fleet) -> secrets.Secrets:
    """The secrets, with all that roles name. Where there is no file, somebody only lints: none. Raises SecretsError."""
    path = Path(fleet.settings.secrets_file)
    if not path.exists():
        return secrets.Secrets()
    found = secrets.read(path)
    secrets.require(path, found, fleet.secrets)
    return found


def _counted(total: int, say: Say) -> Callable[[str], None]:
    answered = 0

    def on_answer(host: str) -> None:
        nonlocal answered
        answered += 1
        if total > 20 and answered % 20 == 0:
            say(f"{answered} of {total} machines answered")

    return on_answer
