"""`fleet lint`, without its printing: inventory → facts → plan, the app beside it → findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleet import app, facts, inventory, secrets, spec
from fleet.app import App, AppError
from fleet.facts import FactsError
from fleet.lint import Finding, lint
from fleet.plan import Plan, resolved

__all__ = ["AppError", "FactsError", "run"]

Say = Callable[[str], None]


def run(file: Path, *, assume: str | None, python: Path | None, load_app: bool, say: Say) -> tuple[Plan, tuple[Finding, ...]]:
    """Lint the fleet of an inventory. Raises SpecError, SecretsError, FactsError or AppError, each with lines for the user."""
    found = inventory.read(file)
    fleet = spec.load(found)
    if assume is not None:
        machine = facts.assume(assume)
        machines = dict.fromkeys(fleet.hosts, machine)
    else:
        machines = facts.ask(found.hosts, _counted(len(found.hosts), say))
    plan = resolved(fleet, machines)
    return plan, lint(plan, apps(fleet, python, say) if load_app else ())


def apps(fleet: spec.Fleet, python: Path | None, say: Say) -> tuple[App, ...]:
    """Every app of the fleet, loaded here with the environment of a worker that runs it (secrets too, where they are here)."""
    loaded: dict[tuple[str, str], App] = {}
    for host in fleet.hosts.values():
        settings = host.settings
        key = (settings.celery_app, settings.app_source)
        if not host.workers or key in loaded:
            continue
        path = Path(settings.secrets_file)
        known = secrets.read(path) if path.exists() else {}
        environment = dict(settings.environment)
        for worker in host.workers.values():
            environment |= worker.environment | {name: known[name] for name in worker.secrets if name in known}
        source = Path(settings.app_source)
        used = python or app.venv(source / settings.app_requirements, fleet.pools, say)
        loaded[key] = app.load(settings.celery_app, source, used, environment)
    return tuple(loaded.values())


def _counted(total: int, say: Say) -> Callable[[str], None]:
    answered = 0

    def on_answer(host: str) -> None:
        nonlocal answered
        answered += 1
        if total > 20 and answered % 20 == 0:
            say(f"{answered} of {total} machines answered")

    return on_answer
