"""redis.conf of the fleet's own Redis, on a machine and in a pod."""

from __future__ import annotations

from fleet.spec.broker import Redis
from fleet.spec.sizes import resolve
from fleet.state.render import render

FOLDER = "/etc/redis"
PATH, USERS_PATH, TLS_FOLDER = f"{FOLDER}/redis.conf", f"{FOLDER}/users.acl", f"{FOLDER}/tls"
TLS_NAMES = ("ca.pem", "broker.pem", "broker.key")
"""The authority, the server's certificate and its key, in the folder for TLS."""
TLS_PATHS = tuple(f"{TLS_FOLDER}/{name}" for name in TLS_NAMES)


def configuration(redis: Redis, address: str, memory: int) -> bytes:
    """The file. address: on which it listens, besides loopback. memory: of the broker's machine, in bytes."""
    return render(
        "etc/redis/redis.conf.j2",
        address=address,
        port=redis.port if redis.port in redis.ports else 0,
        tls_port=redis.tls_port if redis.tls else 0,
        tls_files=TLS_PATHS,
        maxmemory=resolve(redis.maxmemory, memory),
        maxclients=redis.maxclients,
        maxmemory_policy=redis.maxmemory_policy,
        appendonly="yes" if redis.appendonly else "no",
    )
