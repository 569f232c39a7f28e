"""The register of patches: what a worker replaces in Celery and kombu, one file a patch.

A patch is a module with the attributes of `Patch`. To add one, write the module and its test, and add it to PATCHES. Modules
import Celery and kombu inside apply() alone: the register is also read where nothing is patched (`fleet_node.app.describe`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from fleet_node.broker import kind_of
from fleet_node.patches import (
    broker_outage,
    delayed_setup,
    delivery,
    green_backends,
    heartbeats,
    parking,
    prompt_acks,
    queue_names,
    quorum_qos,
    reconnect,
    retried_results,
    running_jobs,
    single_writes,
    task_counts,
    tls_authorities,
    unsent_retry,
)
from fleet_node.patches.versions import Versions

_log = logging.getLogger("celery.worker.fleet")


class Patch(Protocol):
    """A patch."""

    NAME: str
    AFFECTED: Versions
    """Versions that have the defect."""
    SUPPORTED: Versions
    """Versions that the patch is written for, all of them affected."""
    POOLS: tuple[str, ...]
    """Pools that have the defect; empty for all."""
    BROKERS: tuple[str, ...]
    """Kinds of broker with which it shows: "redis", "amqp"; empty for all."""
    REPLACES: tuple[str, ...]
    """Dotted names of the attributes that it replaces."""
    MENDS: str
    """What goes wrong without it, for users."""
    ADVICE: str
    """What a user can do if the patch does not support the app's versions."""
    TEST: str
    """The test that fails without it, as a pytest id."""
    DELETE_WHEN: str
    """When the module can be deleted."""

    def apply(self, worker: Any) -> None:
        """Patch the process of a celery WorkController that has not connected yet."""


PATCHES: tuple[Patch, ...] = (
    broker_outage,
    delayed_setup,
    delivery,
    green_backends,
    heartbeats,
    parking,
    prompt_acks,
    queue_names,
    quorum_qos,
    reconnect,
    retried_results,
    running_jobs,
    single_writes,
    task_counts,
    tls_authorities,
    unsent_retry,
)


@dataclass(frozen=True)
class Applicable:
    """A patch for a defect that two versions have. mended: whether the patch supports these versions."""

    patch: Patch
    mended: bool


def applicable(celery_version: str, kombu_version: str) -> Iterator[Applicable]:
    """The patches for the defects of these versions."""
    for patch in PATCHES:
        if patch.AFFECTED.include(celery_version, kombu_version):
            yield Applicable(patch, patch.SUPPORTED.include(celery_version, kombu_version))


def apply(worker: Any) -> list[str]:
    """Apply the patches that support the installed versions, the worker's pool and its broker. Returns their names.

    A patch that does not find what it replaces is not applied, and logged as an error. To be called in the worker's main process,
    before it connects.
    """
    import celery
    import kombu

    applied, kind = [], kind_of(worker.app.connection_for_read())
    for entry in applicable(celery.__version__, kombu.__version__):
        patch = entry.patch
        if (patch.POOLS and pool_of(worker) not in patch.POOLS) or (patch.BROKERS and kind not in patch.BROKERS):
            continue
        if not entry.mended:
            _log.warning("%s is not mended with these versions: %s; %s", patch.NAME, patch.MENDS, patch.ADVICE)
            continue
        if missing := [name for name in patch.REPLACES if not exists(name)]:
            _log.error("%s is not mended: there is no %s to replace. %s", patch.NAME, ", ".join(missing), patch.MENDS)
            continue
        patch.apply(worker)
        applied.append(patch.NAME)
    _log.debug("mended for celery %s and kombu %s: %s", celery.__version__, kombu.__version__, ", ".join(applied))
    return applied


def pool_of(worker: Any) -> str:
    """The name of a worker's pool: "prefork", "gevent", …"""
    return str(worker.pool_cls.__module__).rpartition(".")[2]


def exists(name: str) -> bool:
    """Whether there is an attribute of this dotted name: package.module.Class.attribute, or package.module.attribute."""
    module_name, class_name, attribute = name.rsplit(".", 2)
    try:
        module = import_module(module_name)
        owner = getattr(module, class_name, None) or import_module(f"{module_name}.{class_name}")
    except ImportError:
        return False
    return hasattr(owner, attribute)
