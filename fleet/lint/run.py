"""`fleet lint` without its output: inventory → fleet → facts → plan, and the apps → findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleet.inventory.ask import ask_machines
from fleet.inventory.read import read_inventory
from fleet.lint import Finding, app, lint
from fleet.lint.app import App
from fleet.lint.venv import python_with
from fleet.plan import facts
from fleet.plan.plan import Plan, resolved
from fleet.spec import secrets
from fleet.spec.fleet import Fleet
from fleet.spec.load import load_fleet
from fleet.spec.secrets import Secrets
from fleet.spec.settings import Settings

Say = Callable[[str], None]


def run(file: Path, *, assume: str | None, python: Path | None, load_app: bool, say: Say) -> tuple[Plan, tuple[Finding, ...]]:
    """Lint the fleet of an inventory. Returns its plan and the findings.

    assume: facts for every machine, e.g. "cores=8,memory=16G"; None asks the machines. python: a Python with the app's
    requirements; None builds a venv. load_app: False skips the rules about the app. say: takes progress messages. Raises
    SpecError, SecretsError, FactsError or AppError, each with lines for the user.
    """
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    fleet_secrets = _read_secrets(fleet)
    if assume is not None:
        machines = dict.fromkeys(fleet.hosts, facts.assume(assume))
    else:
        machines = ask_machines(inventory.hosts, _progress(len(inventory.hosts), say))
    plan = resolved(fleet, machines)
    return plan, lint(plan, apps(fleet, fleet_secrets, python, say) if load_app else ())


def apps(fleet: Fleet, fleet_secrets: Secrets, python: Path | None, say: Say) -> tuple[App, ...]:
    """Every app of the fleet, loaded on this machine with the environment of its workers. Raises AppError.

    Roles of one app may have different environments. They are merged here; the first role's value of a variable is used.
    """
    settings_of: dict[tuple[str, str], Settings] = {}
    environments: dict[tuple[str, str], dict[str, str]] = {}
    for host in fleet.hosts.values():
        if not host.workers:
            continue
        settings = host.settings
        key = (settings.celery_app, settings.app_source)
        settings_of.setdefault(key, settings)
        environment = environments.setdefault(key, dict(settings.environment))
        for worker in host.workers.values():
            for name, value in worker.environment.items():
                environment.setdefault(name, value)
            for name in worker.secrets:
                if name in fleet_secrets:
                    environment.setdefault(name, fleet_secrets[name])
    loaded = []
    for key, settings in settings_of.items():
        source = Path(settings.app_source)
        interpreter = python or python_with(source / settings.app_requirements, fleet.pools, say)
        loaded.append(app.load(settings.celery_app, source, interpreter, environments[key], say))
    return tuple(loaded)


def _read_secrets(fleet: Fleet) -> Secrets:
    """The fleet's secrets; none if there is no file, because linting works without it.

    Raises SecretsError if a secret that a role names is missing.
    """
    path = Path(fleet.settings.secrets_file)
    if not path.exists():
        return Secrets()
    fleet_secrets = secrets.read(path)
    secrets.require(path, fleet_secrets, fleet.secrets)
    return fleet_secrets


def _progress(total: int, say: Say) -> Callable[[str], None]:
    """A callback for each machine that answered. In a large fleet, every twentieth answer is reported."""
    answered = 0

    def on_answer(host: str) -> None:
        nonlocal answered
        answered += 1
        if total > 20 and answered % 20 == 0:
            say(f"{answered} of {total} machines answered")

    return on_answer
