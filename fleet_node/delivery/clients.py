"""Redis clients with the connection parameters that kombu makes of a broker's URL and options: TLS, sockets, Sentinel, …"""

from __future__ import annotations

from typing import Any

from redis import Redis

PATIENCE = 5.0
"""Seconds for Redis to answer."""


def client_of(channel: Any, decode: bool = True, patience: float = PATIENCE, **more: Any) -> Redis:
    """A client of the broker that a kombu channel is connected to, with connections of its own. Keys get no prefix from it.

    decode: whether answers are text. patience: seconds for Redis to answer. more: parameters of its connections.
    """
    pool = channel._get_pool()
    pool.connection_kwargs.update(
        decode_responses=decode,
        socket_timeout=patience,
        socket_connect_timeout=min(patience, PATIENCE),
        health_check_interval=0,  # a PING before every use, for clients that are used every few seconds
        **more,
    )
    return Redis(connection_pool=pool)


def client_of_app(app: Any, decode: bool = True, patience: float = PATIENCE, **more: Any) -> Redis:
    """The same for an app, whose broker need not answer yet."""
    connection = app.connection_for_write()
    transport = connection.get_transport_cls()(client=connection)
    channel = transport.Channel.__new__(transport.Channel)
    channel.connection = transport
    for name in channel.from_transport_options:
        if name in connection.transport_options:
            setattr(channel, name, connection.transport_options[name])
    channel._registered = False
    return client_of(channel, decode, patience, **more)


def database_of(client: Redis) -> int:
    """The number of the database that a client uses."""
    return int(client.connection_pool.connection_kwargs.get("db") or 0)
