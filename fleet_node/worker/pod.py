"""What a unit sets and a pod has no setting for: the worker does it itself. Its children inherit it."""

from __future__ import annotations

import os
import resource

FILES = 65536
"""LimitNOFILE of a worker's unit."""


def settle_in() -> None:
    """In a pod: no core, which would hold the secrets of the environment; files that nobody else reads; enough connections."""
    if not os.environ.get("FLEET_POD"):
        return
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
