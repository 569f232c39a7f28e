"""`fleet lint` without its output: inventory → fleet → facts → plan, and the apps → findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fleet.inventory import last_facts
from fleet.inventory.ask import silence, try_machines
from fleet.inventory.last_facts import LastFacts
from fleet.inventory.read import read_inventory
from fleet.lint import Finding, app, lint
from fleet.lint.app import App
from fleet.lint.finding import Level
from fleet.lint.venv import python_with
from fleet.plan import facts
from fleet.plan.facts import FactsError
from fleet.plan.plan import Plan, resolved
from fleet.spec import certificates, endpoint, secrets
from fleet.spec.beat import Beat
from fleet.spec.certificates import CertificateError
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet.spec.secrets import Secrets
from fleet.spec.settings import Settings
from fleet.spec.worker import Worker

Say = Callable[[str], None]


@dataclass(frozen=True)
class Linted:
    """A fleet that was looked at. silent: host → why it did not answer, of those that were asked in vain."""

    inventory: Inventory
    plan: Plan
    findings: tuple[Finding, ...]
    silent: Mapping[str, str] = field(default_factory=dict)


def run(file: Path, *, assume: str | None, python: Path | None, load_app: bool, say: Say) -> Linted:
    """Lint the fleet of an inventory.

    assume: facts for every machine, e.g. "cores=8,memory=16G"; None asks the machines, and takes the facts that were last seen of
    those that do not answer. python: a Python with the app's requirements; None builds a venv. load_app: False skips the rules
    about the app. say: takes progress messages. Raises SpecError, SecretsError, FactsError (if no machine has facts) or AppError,
    each with lines for the user.
    """
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    fleet_secrets = _read_secrets(fleet)
    silent: dict[str, str] = {}
    seen = LastFacts()
    about_files: tuple[Finding, ...] = ()
    if assume is not None:
        machines = dict.fromkeys(fleet.hosts, facts.assume(assume))
    else:
        answers, silent = try_machines(inventory.hosts, _progress(len(inventory.hosts), say))
        seen, unread = last_facts.read(file)
        machines = seen.completed(answers, silent)
        if not machines:
            advice = "offline, say what the machines are: --assume cores=8,memory=16G,gpus=1"
            raise FactsError("\n".join([*([unread] if unread else []), silence(silent), advice]))
        unkept = last_facts.keep(file, answers, fleet.hosts)
        about_files = notes_on_files(unread, unkept)
    plan = resolved(fleet, machines)
    findings = lint(plan, apps(fleet, fleet_secrets or Secrets(), python, say) if load_app else ())
    about_silent = about_silence(silent, seen, plan, datetime.now(UTC))
    about_secrets = (_no_secrets(fleet),) if fleet_secrets is None else about_rotations(fleet_secrets)
    of_broker = about_certificates(fleet, has_secrets=fleet_secrets is not None)
    return Linted(inventory, plan, (*findings, *of_broker, *about_silent, *about_secrets, *about_files), silent)


def about_silence(silent: Mapping[str, str], seen: LastFacts, plan: Plan, now: datetime) -> tuple[Finding, ...]:
    """What lint says of machines that did not answer: on which facts it goes on, and how old they are."""
    findings = []
    for host, reason in silent.items():
        if host in seen.hosts:
            message = f"facts of {host} are {seen.hosts[host].age(now)} old: it did not answer"
            about = "old facts"
        elif host in plan.assumed:
            message = f"no facts of {host} are kept, and it did not answer: it is taken for a machine like others of its roles"
            about = "assumed"
        else:
            message = f"no facts of {host} are kept, and it did not answer: nothing on it is sized or checked"
            about = "unknown"
        findings.append(Finding("facts", "warning", host, f"{message} ({reason})", about=about, of_run=True))
    return tuple(findings)


def about_certificates(fleet: Fleet, has_secrets: bool = True, now: datetime | None = None) -> tuple[Finding, ...]:
    """What lint says of the certificates that connections to the broker use: errors for those that a deploy refuses, and warnings
    for those that end soon. has_secrets: whether this machine has the secrets; if not, it need not have certificates either."""
    files = [path for path in certificates.paths_of(fleet) if path]
    if files and not has_secrets and not any(path.exists() for path in files):
        return ()
    level: Level = "warning"
    try:
        lines = certificates.ending_soon(fleet, certificates.read(fleet, now), now)
    except CertificateError as error:
        lines, level = str(error).splitlines(), "error"
    findings = (line.partition(": ") for line in lines)
    # The days that are left are in the message: it is new on each day.
    return tuple(Finding("certificates", level, path, message) for path, _, message in findings)


def notes_on_files(*complaints: str) -> tuple[Finding, ...]:
    """What could not be read or written of the files that the control machine keeps. Empty texts are no complaints."""
    return tuple(
        Finding("kept-files", "note", path, message, of_run=True)
        for path, _, message in (complaint.partition(": ") for complaint in complaints if complaint)
    )


def about_rotations(known: Mapping[str, str]) -> tuple[Finding, ...]:
    """What lint says of secrets of which two values are valid."""
    return tuple(Finding("rotation", "note", name, message) for name, message in secrets.unfinished(known).items())


def _no_secrets(fleet: Fleet) -> Finding:
    path = fleet.settings.secrets_file
    advice = f"make one with: fleet secrets {path}" if fleet.own_broker else secrets.by_hand(path, fleet.secrets)
    message = f"{path}: no such file, and a deploy needs it; {advice}"
    return Finding("no-secrets", "note", "secrets_file", message)


def apps(fleet: Fleet, fleet_secrets: Secrets, python: Path | None, say: Say) -> tuple[App, ...]:
    """Every app of the fleet, loaded on this machine with the environment of its workers and beat. Raises AppError.

    Roles of one app may have different environments. They are merged here; the first role's value of a variable is used.
    """
    settings_of: dict[tuple[str, str], Settings] = {}
    environments: dict[tuple[str, str], dict[str, str]] = {}
    for host in fleet.hosts.values():
        if not host.workers and host.name not in fleet.beat_hosts:
            continue
        settings = host.settings
        key = (settings.celery_app, settings.app_source)
        settings_of.setdefault(key, settings)
        environment = environments.setdefault(key, dict(settings.environment))
        parts: list[Worker | Beat] = [*host.workers.values()]
        if host.name in fleet.beat_hosts:
            parts.append(fleet.beat)
            if fleet.beat.scheduler:
                environment["FLEET_BEAT_SCHEDULER"] = fleet.beat.scheduler
        for part in parts:
            for name, value in part.environment.items():
                environment.setdefault(name, value)
            for name in part.secrets:
                if name in fleet_secrets:
                    environment.setdefault(name, fleet_secrets[name])
    loaded = []
    for key, settings in settings_of.items():
        source = Path(settings.app_source)
        interpreter = python or python_with(source / settings.app_requirements, fleet.pools, say)
        loaded.append(app.load(settings.celery_app, source, interpreter, environments[key], say))
    return tuple(loaded)


def _read_secrets(fleet: Fleet) -> Secrets | None:
    """The fleet's secrets; None if there is no file, because linting works without it.

    Raises SecretsError if a secret that a role names is missing, or if the broker's URL is of no use.
    """
    path = Path(fleet.settings.secrets_file)
    if not path.exists():
        return None
    fleet_secrets = secrets.read(path)
    secrets.require(path, fleet_secrets, fleet.secrets)
    if fleet.own_broker is None:
        endpoint.broker(fleet, fleet_secrets)  # without a machine, nobody else reads the URL
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
