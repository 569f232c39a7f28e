"""A connection to Redis trusts the authority that its URL names, and no other, and is there in a millisecond.

redis-py makes a TLS context for each connection, and loads all authorities of the system into it, also if `ssl_ca_certs` names
one. So every authority of the system can vouch for the broker, and each connection reads some 140 certificates: 40 ms, in which
a worker with gevent does nothing else. When its 100 tasks end at once, it is still for 4 seconds, and gives up connections that
have waited for as long. With this patch the system's are loaded if no other is named, and once for all connections.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "tls-authorities"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ("redis",)
REPLACES: tuple[str, ...] = ("redis.connection.ssl",)
MENDS = "with TLS, each connection to Redis takes 40 ms of the worker's time, and trusts the system's authorities too"
ADVICE = "keep few authorities in /etc/ssl/certs of the workers"
TEST = "tests/unit/fleet_node/delivery/test_brokers.py::test_the_system_does_not_vouch_for_the_broker"
DELETE_WHEN = "redis-py loads the system's authorities only if no other is named, in all versions that Celery allows"


class Context(ssl.SSLContext):
    """As ssl.create_default_context() makes it, but for the system's authorities: they come last, and only if no other has."""

    has_authorities = False
    has_more = False

    def load_verify_locations(self, *args: Any, **kwargs: Any) -> None:
        self.has_authorities = True
        super().load_verify_locations(*args, **kwargs)

    def load_cert_chain(self, *args: Any, **kwargs: Any) -> None:
        self.has_more = True
        super().load_cert_chain(*args, **kwargs)

    def set_ciphers(self, *args: Any, **kwargs: Any) -> None:
        self.has_more = True
        super().set_ciphers(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        if self.verify_mode == ssl.CERT_NONE or self.has_authorities:
            return super().wrap_socket(*args, **kwargs)
        if self.has_more:
            self.load_default_certs()
            return super().wrap_socket(*args, **kwargs)
        shared = _shared(self.check_hostname, self.verify_mode, self.verify_flags, self.minimum_version)
        return shared.wrap_socket(*args, **kwargs)


@lru_cache
def _shared(check_hostname: bool, mode: ssl.VerifyMode, flags: ssl.VerifyFlags, least: ssl.TLSVersion) -> ssl.SSLContext:
    """A context with the system's authorities, for all connections that ask for the same."""
    context = ssl.create_default_context()
    context.check_hostname = check_hostname
    context.verify_mode, context.verify_flags, context.minimum_version = mode, flags, least
    return context


class Ssl:
    """The module `ssl` as redis.connection sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ssl, name)

    def create_default_context(self) -> Context:
        context = Context(ssl.PROTOCOL_TLS_CLIENT)
        for name in ("options", "verify_flags", "keylog_filename"):
            setattr(context, name, getattr(_default(), name))
        return context


@lru_cache
def _default() -> ssl.SSLContext:
    """This Python's: what its context is set to differs from version to version."""
    return ssl.create_default_context()


def apply(worker: Any) -> None:
    """See Patch."""
    from redis import connection

    module: Any = connection
    module.ssl = Ssl()
