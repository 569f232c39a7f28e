"""Releases from before `fleet_node.protocol`, which machines deployed before 0.1.0 keep, and rollback.py may go back to.

They run with the fleet_node that they were deployed with, so requests to them use the names of that time. A release without a
file `protocol-N` is one of them (`Release.protocol` is 0). Delete this file, and what calls it, when no machine keeps one.
"""

from __future__ import annotations

from typing import Any

from fleet.state.release import Release
from fleet_node.protocol import SNAPSHOT, SNAPSHOT_FILES, STATE_FOLDER, UNVERIFIED, DrainReport, StepRequest


def request_for(release: Release, request: StepRequest) -> dict[str, Any]:
    """The request with the keys that this release's fleet_node.step reads."""
    if release.protocol:
        return dict(request)
    return {**request, "going": request["stopping"], "keep": request["min_consumers"]}


def option_for(release: Release, option: str) -> str:
    """The name of an option of this release's fleet_node.step."""
    return "--keep" if option == "--commit" and not release.protocol else option


def before_step(release: Release) -> str:
    """sh to run before this release's fleet_node.step: a newer step that was cut off has left files that it does not know."""
    files = " ".join(f"{STATE_FOLDER}/{name}" for name in (UNVERIFIED, SNAPSHOT, SNAPSHOT_FILES))
    return "" if release.protocol else f"rm -f {files}; "


def summary_of(report: DrainReport | dict[str, Any]) -> str:
    """A drain's report in words, by a worker of either time."""
    return str(report.get("summary") or report.get("told") or "")
