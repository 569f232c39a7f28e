"""Writes what it costs to remove a pod (`controller.kubernetes.io/pod-deletion-cost`), by the API server of the cluster."""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
EVERY = 5.0
"""Seconds between two looks. Kubernetes' autoscaler decides each 15."""
PATIENCE, LONGEST = 10.0, 30.0
"""Seconds that the API server may say nothing, and that all patches of a look may take."""
MOST_BYTES = 1 << 20
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json"
"""What an answer should be: a pod without its specification."""
POD = re.compile(r"[a-z0-9]([a-z0-9-]{0,251}[a-z0-9])?", re.ASCII)


class Pods:
    """The pods of the exporter's own namespace, through the API server. account: the folder with the token, which the kubelet
    renews, the server's authority, and the namespace."""

    def __init__(self, account: Path, host: str, port: int) -> None:
        self._account, self._host, self._port = account, host, port
        self._written: dict[str, int] = {}

    def write(self, costs: Mapping[str, int]) -> None:
        """Write the costs that are others than the last. A pod that is gone is left out. Raises OSError if the API server does
        not answer in time, or refuses some, when all have been tried."""
        self._written = {pod: cost for pod, cost in self._written.items() if pod in costs}
        changed = {pod: cost for pod, cost in costs.items() if self._written.get(pod) != cost and POD.fullmatch(pod)}
        if not changed:
            return
        context = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        token, namespace = ((self._account / name).read_text().strip() for name in ("token", "namespace"))
        connection = HTTPSConnection(self._host, self._port, timeout=PATIENCE, context=context)
        refused = ""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json", "Accept": METADATA}
        deadline = time.monotonic() + LONGEST
        try:
            for pod, cost in changed.items():
                patch = json.dumps({"metadata": {"annotations": {ANNOTATION: str(cost)}}})
                connection.request("PATCH", f"/api/v1/namespaces/{namespace}/pods/{pod}", patch, headers)
                answer = connection.getresponse()
                content = _content(answer, deadline)
                if answer.status in (200, 404):
                    self._written[pod] = cost
                else:
                    refused = refused or f"{pod}: HTTP {answer.status}: {_message(content)}"
        except HTTPException as error:
            raise OSError(repr(error)) from None
        finally:
            connection.close()
        if refused:
            raise OSError(refused)


def start(costs: Callable[[], Mapping[str, int]], pods: Pods) -> None:
    """Write them from now on, in a thread. costs: reads them; raises OSError if the broker does not answer. What goes wrong is in
    the log, once."""
    threading.Thread(target=_run, args=(costs, pods), name="deletion-costs", daemon=True).start()


def of_cluster(account: str) -> Pods:
    """The pods of the cluster that the exporter is in. Raises KeyError outside of one."""
    return Pods(Path(account), os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))


def _run(costs: Callable[[], Mapping[str, int]], pods: Pods) -> None:
    reported = ""
    while True:
        try:
            pods.write(costs())
            problem = ""
        except Exception as error:  # the thread goes on, whatever it is
            problem = str(error) if isinstance(error, OSError) else repr(error)
        if problem != reported:
            reported = problem
            sys.stderr.write(f"deletion costs of pods: {problem or 'written again'}\n")
        time.sleep(EVERY)


def _content(answer: HTTPResponse, deadline: float) -> bytes:
    """Of an answer. Raises OSError if it does not end."""
    content = b""
    while piece := answer.read1(MOST_BYTES):
        content += piece
        if len(content) > MOST_BYTES or time.monotonic() > deadline:
            raise OSError("the API server's answer does not end")
    return content + answer.read()  # nothing more: it is over for http.client only now


def _message(content: bytes) -> str:
    """Of a Status."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return content[:200].decode(errors="replace")
