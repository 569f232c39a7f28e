"""The beginning of a run: the fleet's settings, what every machine has, and whether it all fits together."""

from __future__ import annotations

import atexit
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gevent.lock import Semaphore
from gevent.pool import Pool
from pyinfra import logger
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase, get_fact
from pyinfra.context import ctx_host, ctx_state, host, inventory, state

from fleet.engine import checks, connection, finish, preflight
from fleet.engine.inventory import explain_down, gather, inventory_argument, makes_a_run
from fleet.engine.progress import Progress
from fleet.engine.refusal import RefusedError, refused, refusing
from fleet.engine.run import Run
from fleet.errors import FleetError
from fleet.inventory import last_facts
from fleet.lint import lint
from fleet.plan.plan import resolved
from fleet.spec import certificates, endpoint, secrets
from fleet.spec.certificates import CertificateError, Certificates
from fleet.spec.fleet import Fleet
from fleet.spec.groups import OVERRIDES, RUN_ARGUMENTS
from fleet.spec.load import load_fleet
from fleet.spec.mistakes import SpecError
from fleet.spec.secrets import SecretsError
from fleet.spec.source import of_fleet, summary
from fleet.state import observed
from fleet.state.observed import ObservedMachine, Watched
from fleet.state.role import Role, watched


class Probe(FactBase[ObservedMachine]):
    """All that a run has to know of a machine, by one command."""

    def command(self, watched: Watched) -> str:
        return "sh -c " + shlex.quote(observed.command(watched))

    def process(self, output: Iterable[str]) -> ObservedMachine:
        try:
            return observed.parse(output)
        except ValueError as error:
            raise FactProcessError(str(error)) from error


def start(*roles: Role, takes: Sequence[str] = ()) -> Run:
    """The run that this deploy belongs to: made for the first host that asks, the same for all others.

    takes: names of `--data` that this script, and not every script, reads. Raises RefusedError if the settings are wrong, a
    machine does not answer, or a rule across settings is broken: nothing has changed then.
    """
    # If each host asked for itself, more hosts than pyinfra works on at a time would lock up: the first asks all.
    if not hasattr(state, "fleet_starting"):
        setattr(state, "fleet_starting", Semaphore())  # noqa: B010 - pyinfra's class does not declare it
    with getattr(state, "fleet_starting"):  # noqa: B009
        run = current()
        if run is None:
            if earlier := getattr(state, "fleet_refused", None):  # pyinfra is ending already
                raise earlier
            try:
                with refusing():
                    run = _make(roles, tuple(takes))
            except RefusedError as error:
                setattr(state, "fleet_refused", error)  # noqa: B010
                raise
            setattr(state, "fleet_run", run)  # noqa: B010
            atexit.register(finish.end, run, ctx_state.get())  # type: ignore[no-untyped-call]
    return run


def check_settings() -> None:
    """Refuse mistakes in the settings, if the script that pyinfra was called with makes a run. To be called before pyinfra
    connects: nobody should wait for a machine, or read of one that is down, in place of a mistake. Raises RefusedError."""
    if makes_a_run():
        with refusing():
            _load()


def current() -> Run | None:
    """The run of pyinfra's present state; None if it has not begun."""
    return getattr(state, "fleet_run", None) if ctx_state.isset() else None  # type: ignore[no-untyped-call]


def _make(roles: tuple[Role, ...], takes: tuple[str, ...]) -> Run:
    checks.refuse_data({name: host.data.get(name) for name in RUN_ARGUMENTS}, takes)
    fleet, known_secrets, known_certificates = _load()
    if state.failed_hosts:  # with --fail-percent, pyinfra goes on without them
        raise FleetError(explain_down(state))
    hosts = inventory.get_active_hosts()
    looked_at = watched(roles)
    answers = dict(Pool(max(1, len(hosts))).imap_unordered(lambda asked: _probe(asked, looked_at), hosts))
    checks.refuse_silence(answers)
    checks.refuse_namesakes(fleet, answers)
    # In the inventory's order, whoever answered first: what is sized must be the same in every run.
    plan = resolved(fleet, {name: answers[name].facts for name in fleet.hosts if name in answers})
    run = Run(fleet, known_secrets, roles, answers, plan, known_certificates)
    run.overrides.update({name: str(value) for name in OVERRIDES if (value := host.data.get(name)) is not None})
    if unkept := last_facts.keep(
        Path(inventory_argument()), {name: answer.facts for name, answer in answers.items()}, fleet.hosts
    ):
        run.notes[f"note: {unkept}"] = None
    run.notes.update(dict.fromkeys(certificates.ending_soon(fleet, known_certificates)))
    run.notes.update(dict.fromkeys(f"{name}: {line}" for name, line in secrets.unfinished(known_secrets).items()))
    if moved := checks.moved_records(fleet, answers):
        run.notes[f"note: {moved}"] = None
    findings = lint(plan)
    checks.refuse_findings(findings)
    run.note_findings("deploy", findings)
    if "abandon_queues" in takes:
        checks.refuse_second_beat(fleet, answers)
        for source, files in of_fleet(fleet).items():
            logger.info(f"--> a release of {source}: {summary(files)}")
        preflight.refuse_what_strands(run, brings_broker="release" not in takes)
    state.add_callback_handler(Progress(run.errors, run.begun))  # type: ignore[no-untyped-call]
    return run


def _load() -> tuple[Fleet, Mapping[str, str], Certificates]:
    """The settings, the secrets and the certificates, read once a run: they are asked for before it connects, and when it is
    made."""
    if loaded := getattr(state, "fleet_loaded", None):
        return loaded  # type: ignore[no-any-return]
    try:
        fleet = load_fleet(gather(inventory))
        path = Path(fleet.settings.secrets_file)
        known = secrets.read(path)
        secrets.require(path, known, fleet.secrets)
        endpoint.broker(fleet, known)
        of_broker = certificates.read(fleet)
    except (SpecError, SecretsError, CertificateError) as error:
        raise FleetError(refused(str(error))) from None
    loaded = (fleet, known, of_broker)
    setattr(state, "fleet_loaded", loaded)  # noqa: B010
    return loaded


def _probe(asked: Any, looked_at: Watched) -> tuple[str, ObservedMachine | None]:
    connection.notice_when_gone(asked)
    with ctx_host.use(asked):
        return asked.name, get_fact(state, asked, Probe, args=(looked_at,), apply_failed_hosts=False)  # who is silent is refused
