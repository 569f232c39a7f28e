"""A stand-in for a kubelet and a Deployment's controller: no cluster, but each pod's own command, environment, probes, preStop
hook, SIGTERM and grace, as its manifest has them, with real processes.

What it has not: images, networks, namespaces, and limits of memory. The image's paths are folders of the test's.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from tests.unit.process_support import ROOT

Object = dict[str, Any]


@dataclass
class Pod:
    """One that was started. killed: whether its grace was over before it had ended."""

    name: str
    manifest: Object
    folder: Path
    places: Mapping[str, str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]
    since: float = field(default_factory=time.monotonic)
    is_going: bool = False
    killed: bool = False
    restarts: int = 0
    ending: Thread | None = None

    @property
    def container(self) -> Any:
        return self.manifest["spec"]["containers"][0]

    @property
    def is_ready(self) -> bool:
        return not self.is_going and self.probe("startupProbe") and self.probe("readinessProbe")

    def probe(self, name: str) -> bool:
        """Whether a probe succeeds now. A liveness probe that keeps failing would restart the container."""
        return self.run(self.container[name]["exec"]["command"], self.container[name].get("timeoutSeconds", 1) * 10) == 0

    def run(self, command: list[str], timeout: float) -> int:
        """A command in the container; no variable in it is expanded."""
        words = [placed(word, self.places) for word in command]
        with (self.folder / "hooks").open("a") as log:
            return subprocess.run(words, env=self.environment, stdout=log, stderr=log, timeout=timeout, check=False).returncode

    def restart(self) -> None:
        """What a kubelet does with a container that has ended: another, with the volumes as they are."""
        self.restarts += 1
        self.process = started(self.container, self.folder, self.places, self.environment)

    def delete(self) -> None:
        """What a kubelet does with a pod that goes, in the background: the hook, SIGTERM to the first process, and SIGKILL when
        the grace is over, which the hook's time is a part of."""
        self.is_going = True
        self.ending = Thread(target=self._end)
        self.ending.start()

    def _end(self) -> None:
        grace = self.manifest["spec"]["terminationGracePeriodSeconds"]
        deadline = time.monotonic() + grace
        self.run(self.container["lifecycle"]["preStop"]["exec"]["command"], grace)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(max(2.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.killed = True
            self.process.kill()
            self.process.wait()


def started(container: Any, folder: Path, places: Mapping[str, str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The first process of a container."""
    words = [placed(expanded(word, environment), places) for word in (*container["command"], *container["args"])]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(words, env=environment, cwd=placed(container["workingDir"], places), stdout=log, stderr=log)


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """A value, or a word of a command, as the kubelet passes it on: $(NAME) is that variable, if there is one, and $$ is $."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", value, text)


def placed(text: str, places: Mapping[str, str]) -> str:
    """A text with the image's paths where they are here."""
    longest_first = sorted(places, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda match: places[match[0]], text)


@dataclass
class StandIn:
    """One Deployment. app: the image's /app/src. secrets: of its Secrets, by name. costs: pod → its deletion cost."""

    folder: Path
    app: Path
    secrets: Mapping[str, Mapping[str, str]]
    deployment: Object
    replicas: int = 0
    pods: list[Pod] = field(default_factory=list)
    costs: dict[str, int] = field(default_factory=dict)
    gone: list[Pod] = field(default_factory=list)
    _started: int = 0

    @property
    def alive(self) -> list[Pod]:
        """Pods that are not on their way out."""
        return [pod for pod in self.pods if not pod.is_going]

    def reconcile(self) -> None:
        """Bring the number of pods to what is asked, the idle ones first where there are too many; and note those that ended."""
        for pod in [pod for pod in self.pods if pod.process.poll() is not None]:
            self.pods.remove(pod)
            self.gone.append(pod)
        while len(self.alive) < self.replicas:
            self._start()
        by_order = sorted(self.alive, key=lambda pod: (pod.is_ready, self.costs.get(pod.name, 0), -pod.since))
        for pod in by_order[: max(0, len(self.alive) - self.replicas)]:
            pod.delete()

    def evict(self, pod: Pod, budget: Object) -> bool:
        """As a drained node does: only if the budget allows it. Returns whether the pod goes."""
        ready = sum(each.is_ready for each in self.alive)
        least = budget["spec"].get("minAvailable", self.replicas - budget["spec"].get("maxUnavailable", 0))
        if ready - pod.is_ready < least:
            return False
        pod.delete()
        return True

    def roll_out(self, deployment: Object, patience: float) -> None:
        """Replace all pods by those of another manifest, within its maxUnavailable and maxSurge."""
        self.deployment = deployment
        template = deployment["spec"]["template"]
        rolling = deployment["spec"]["strategy"]["rollingUpdate"]
        away, surge = (_share(rolling[name], self.replicas, up) for name, up in (("maxUnavailable", False), ("maxSurge", True)))
        away = away or (0 if surge else 1)
        deadline = time.monotonic() + patience
        while old := [pod for pod in self.alive if pod.manifest is not template]:
            assert time.monotonic() < deadline, "the rollout does not end"
            self.reconcile_only_ended()
            ready = sum(pod.is_ready for pod in self.alive)
            while len(self.alive) < self.replicas + surge:
                self._start()
            if ready > self.replicas - away:
                old[0].delete()
            time.sleep(0.2)

    def reconcile_only_ended(self) -> None:
        """Note the pods that have ended."""
        for pod in [pod for pod in self.pods if pod.process.poll() is not None]:
            self.pods.remove(pod)
            self.gone.append(pod)

    def end(self) -> None:
        """Leave nothing behind, also if a test fails."""
        for pod in self.pods:
            pod.process.kill()
            pod.process.wait()
        for pod in [*self.pods, *self.gone]:
            if pod.ending:
                pod.ending.join()

    def _start(self) -> None:
        self._started += 1
        template = self.deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        name = f"{self.deployment['metadata']['name']}-{self._started:05}"
        folder = self.folder / name
        places = {
            "/app/venv/bin": str(Path(sys.executable).parent),
            "/app/src": str(self.app),
            "/app/node": str(ROOT),
            **{each["mountPath"]: str(folder / each["name"]) for each in container["volumeMounts"]},
        }
        for each in container["volumeMounts"]:
            (folder / each["name"]).mkdir(parents=True)
        environment: dict[str, str] = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        for each in container["env"]:
            source = each.get("valueFrom", {})
            if "fieldRef" in source:
                environment[each["name"]] = name
            elif "secretKeyRef" in source:
                environment[each["name"]] = self.secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
            else:
                environment[each["name"]] = placed(expanded(each["value"], environment), places)
        self.pods.append(Pod(name, template, folder, places, environment, started(container, folder, places, environment)))


def _share(value: int | str, replicas: int, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = replicas * int(value.removesuffix("%"))
    return -(-share // 100) if up else share // 100
