"""Which password the broker accepts, while one is changed: from the new line in the secrets file until the next deploy, it is the
one before."""

from __future__ import annotations

from collections.abc import Mapping

from amqp import Connection
from amqp.exceptions import AccessRefused, AMQPError
from redis import AuthenticationError, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from fleet.spec import endpoint
from fleet.spec.endpoint import USERS, Way
from fleet.spec.fleet import Fleet
from fleet.spec.secrets import BEFORE
from fleet.spec.urls import Endpoint

PATIENCE = 10.0
"""Seconds for the broker to answer."""


def not_yet_accepted(fleet: Fleet, known: Mapping[str, str], way: Way) -> dict[str, str]:
    """Name → the value before, of those passwords of our own broker that change and that it does not accept yet."""
    changing = {user: name for user, name in USERS.items() if fleet.own_broker and known.get(name + BEFORE)}
    return {name: known[name + BEFORE] for user, name in changing.items() if _is_refused(fleet, known, way, user)}


def _is_refused(fleet: Fleet, known: Mapping[str, str], way: Way, user: str) -> bool:
    server = endpoint.broker(fleet, known, user, way=way)
    if server.is_amqp:
        return _is_refused_by_rabbitmq(server)
    url = server.url
    patience = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
    try:
        with Redis.from_url(url, retry=Retry(NoBackoff(), 0), **patience) as client:
            client.ping()
    except AuthenticationError:
        return True
    except (RedisError, OSError):
        return False  # whoever asks for more is told why
    return False


def _is_refused_by_rabbitmq(server: Endpoint) -> bool:
    """Whether there is no such user yet: each password has one (`fleet.spec.rabbitmq`)."""
    patience = {"connect_timeout": PATIENCE, "read_timeout": PATIENCE, "write_timeout": PATIENCE}
    where = f"{server.address}:{server.port}"
    connection = Connection(where, server.user, server.password, virtual_host=server.path, **patience)
    try:
        connection.connect()
    except AccessRefused:
        return True
    except (AMQPError, OSError):
        return False
    finally:
        connection.collect()
    return False
