"""All that one run knows. It is made once, before any host is changed, and passed; no module keeps state.

pyinfra executes `deploy.py` once for every host, so the run hangs on pyinfra's own state: `fleet.engine.start` makes it for the
first host and returns it to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gevent.lock import Semaphore

from fleet.errors import FleetError
from fleet.lint import Finding
from fleet.plan.plan import Plan
from fleet.rollout.hooks import HookRun
from fleet.rollout.request import expected_workers
from fleet.rollout.result import Results, parse, shortened
from fleet.rollout.steps import Step
from fleet.rollout.target import KnownRelease
from fleet.spec.certificates import Certificates
from fleet.spec.fleet import Fleet, Host
from fleet.state import release
from fleet.state.archive import as_text
from fleet.state.desired import State
from fleet.state.driver import ObservedDriver
from fleet.state.observed import ObservedMachine
from fleet.state.paths import BEAT_UNIT
from fleet.state.release import Release, Sources
from fleet.state.role import Role, check_watched


@dataclass(frozen=True)
class Rollout:
    """What this run restarts, when, and how it goes. expected: workers that should answer, in the whole fleet."""

    steps: tuple[Step, ...]
    expected: int
    results: Results


@dataclass(frozen=True)
class HeldLock:
    """The fleet's lock, in this run's hands. host, data: of the records, in the inventory. content: what the lock says.
    since: by the monotonic clock, in seconds."""

    host: str
    data: Mapping[str, Any]
    content: Mapping[str, Any]
    since: float


@dataclass
class Run:
    """One run of pyinfra over a fleet.

    roles: the modules that were handed to it, which the probe is made from. observed: host → what the probe reported, of the
    hosts that --limit leaves.
    target: the release that a rollback goes to; None if the sources make the release. drivers: host → its NVIDIA driver, of the
    hosts that are to get one. changed: hosts that this run changes. planned: instances that it restarts, as in "web1:web@1".
    findings: none is an error, by the look that found them (see `fleet.lint.news`). notes: lines for the end of the run, each
    once. errors: why it failed outside a step. overrides: what it was told by --data to leave behind. hooks: those that ran.
    script: the file that pyinfra runs.
    """

    fleet: Fleet
    secrets: Mapping[str, str]
    roles: tuple[Role, ...]
    observed: Mapping[str, ObservedMachine]
    plan: Plan
    certificates: Certificates = field(default_factory=Certificates)
    target: KnownRelease | None = None
    drivers: Mapping[str, ObservedDriver] | None = None
    rollout: Rollout | None = None
    changed: set[str] = field(default_factory=set)
    planned: dict[str, None] = field(default_factory=dict)
    findings: dict[str, dict[Finding, None]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    errors: dict[str, None] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)
    hooks: list[HookRun] = field(default_factory=list)
    script: str = ""
    held: HeldLock | None = None
    interrupted: bool = False
    preparing: Semaphore = field(default_factory=Semaphore)
    """Held by the host that computes for all: pyinfra prepares hosts at once."""
    _states: dict[tuple[int, str], State] = field(default_factory=dict)
    _sources: Sources = field(default_factory=Sources)
    _archives: dict[str, str] = field(default_factory=dict)
    _findings: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    pending: dict[tuple[Step, str], Any] = field(default_factory=dict)
    """pyinfra's record of each step on each host, which has the output when the step is over."""
    begun: set[int] = field(default_factory=set)
    """id() of pyinfra's record of every operation that a host has begun."""

    def desired(self, role: Role, host: Host) -> State:
        """The state that a role wants on a host, computed once. Raises FleetError if the role asks for what it does not watch."""
        key = (id(role), host.name)
        if role not in self.roles:
            raise FleetError(f"{role}: the probe does not know this role; hand it to start()")
        if key not in self._states:
            state = role.desired(self, host)
            check_watched(state, role)
            self._states[key] = state
        return self._states[key]

    def release_of(self, host: Host) -> Release:
        """The release that a host should have. Raises FleetError if its Python is not known, or the target is gone."""
        observed = self.observed[host.name]
        if self.target is None:
            return self._sources.release_for(host, observed, self.fleet.pools)
        identity = dict(self.target.ids).get(release.python_on(host.name, observed))
        target = release.on_machine(identity, self.target.app, observed) if identity else None
        if target is None or not target.is_built(observed):
            raise FleetError(
                f"{host.name}: release {self.target} is not on this machine (any more): releases_kept is "
                f"{host.settings.releases_kept}; deploy its source instead"
            )
        return target

    def archive_of(self, release: Release) -> str:
        """What travels to a machine to build a release there, as text for stdin. Packed once, and kept once, for all machines."""
        if release.id not in self._archives:
            self._archives[release.id] = as_text(release.archive())
        return self._archives[release.id]

    def running_releases(self, host: Host) -> dict[str, Release]:
        """Role → the release that its workers run now on a host, as far as it is known; else the one that they should have."""
        observed = self.observed[host.name]
        releases = {}
        for role in host.workers:
            units = [unit for name, unit in observed.units.items() if name.startswith(f"celery-{role}@")]
            running = next((unit.release for unit in units if unit.active and unit.release), None)
            app = self.fleet.settings.celery_app
            releases[role] = release.on_machine(running, app, observed) if running else self.release_of(host)
        return releases

    def brought(self) -> dict[str, Any]:
        """What the history keeps of the release that this run brings: {"releases": id by Python version, "app"}."""
        hosts = [
            host
            for name, host in self.fleet.hosts.items()
            if name in self.observed and (host.workers or name in self.fleet.beat_hosts)
        ]
        releases = {release.python_of(self.observed[host.name]): self.release_of(host) for host in hosts}
        if not releases:
            return {}
        return {
            "releases": {python: brought.id for python, brought in releases.items()},
            "app": next(iter(releases.values())).app,
        }

    def plan_rollout(self, steps: Iterable[Step]) -> Rollout:
        """Fix the steps of this run."""
        steps = tuple(steps)
        self.rollout = Rollout(steps, expected_workers(self.plan, self.observed), Results(steps, self.observed))
        return self.rollout

    def collect(self, step: Step) -> None:
        """Read what the hosts of a step have printed, of those that have begun it. Nothing is printed where contact was lost."""
        assert self.rollout is not None  # noqa: S101 - it declared the step
        for name in step.hosts:
            done = self.pending.get((step, name))
            if done is not None and id(done) in self.begun and self.rollout.results.of(step, name) is None:
                output = (done.stdout.splitlines(), done.stderr.splitlines()) if done.is_complete() else ((), ())
                self.rollout.results.record(step, name, parse(*output))

    def note_findings(self, look: str, findings: Iterable[Finding]) -> None:
        """Note what is no error, for the end of the run, whatever number of hosts reports it."""
        self.findings.setdefault(look, {}).update(dict.fromkeys(findings))

    @property
    def is_whole(self) -> bool:
        """Whether it looks at every host, and not at those of --limit alone."""
        return self.fleet.hosts.keys() <= self.observed.keys()

    def findings_of(self, description: str, judge: Callable[[str], tuple[Finding, ...]]) -> tuple[Finding, ...]:
        """What `judge` finds in an app's description. Most hosts print the same, and a rule looks at all of them: judged once."""
        if description not in self._findings:
            self._findings[description] = judge(description)
        return self._findings[description]

    @property
    def workers_run(self) -> bool:
        """Whether a worker of the fleet runs on a host that this run looks at."""
        return any(
            unit.active and name.startswith("celery-") and name != BEAT_UNIT
            for machine in self.observed.values()
            for name, unit in machine.units.items()
        )

    @property
    def all_well(self) -> bool:
        """Whether every worker that this run was to bring runs what it should."""
        return self.rollout is None or self.rollout.results.all_well

    def outcome(self, failed: bool) -> str:
        """How this run ended. failed: whether pyinfra counts a host as failed."""
        return "interrupted" if self.interrupted else "failed" if failed or not self.all_well else "done"

    def history_entry(self, failed: bool, seconds: float) -> dict[str, Any]:
        """How this run ended, as the history keeps it. failed: as in outcome()."""
        return {
            "outcome": self.outcome(failed),
            "seconds": round(seconds, 1),
            "planned": sorted(self.planned),
            **({"overrides": self.overrides} if self.overrides else {}),
            "errors": [shortened(error) for error in self.errors],
            **({"hooks": self.hooks} if self.hooks else {}),
            "steps": self.rollout.results.as_records() if self.rollout else [],
        }
