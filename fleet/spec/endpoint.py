"""Where the fleet's broker and its results are reached: from a machine of the fleet, and from the control machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from fleet.spec.broker import External
from fleet.spec.certificates import paths_of
from fleet.spec.fleet import Fleet
from fleet.spec.rabbitmq import VHOST, account
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER, Secrets, SecretsError, read, require
from fleet.spec.transport import NO_RESULTS
from fleet.spec.urls import REFERENCE, SENTINEL, Endpoint, parse

BROKER_DB, RESULT_DB = "0", "1"
"""Databases of our own Redis."""
USERS = {"worker": BROKER_WORKER, "monitor": BROKER_MONITOR}
"""Users of our own broker → their passwords' names."""
_REDIS = ("redis://", "rediss://", "valkey://", "valkeys://")
"""How the URL of a Redis of results begins, or of what Celery does not know by that name."""
_QUOTES = ("'", '"')
DISABLED = "disabled://"
"""Celery's URL of no result backend."""
FOLDER = "/etc/fleet-broker"
"""Where a machine has the certificates, for everybody who connects from there."""
ON_MACHINES = tuple(Path(FOLDER) / name for name in ("ca.pem", "client.pem", "client.key"))


@dataclass(frozen=True)
class Way:
    """How the control machine reaches the broker: through a port of 127.0.0.1, or itself (None). With a port, the name in the
    server's certificate has been checked before; RabbitMQ's port has no TLS, since who opened it does that
    (`fleet.broker.relay`). primary: the address that sentinels have named, or that answers of RabbitMQ's nodes. passwords: by
    name, in place of those in the secrets file that our own broker does not accept yet."""

    port: int | None = None
    primary: tuple[str, int] | None = None
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)


def broker_secrets(fleet: Fleet) -> Secrets:
    """The secrets file, read now, with all that connections to the broker need. Raises SecretsError."""
    path = Path(fleet.settings.secrets_file)
    known = read(path)
    require(path, known, fleet.broker_secrets)
    return known


def broker(
    fleet: Fleet, secrets: Mapping[str, str], user: str = "worker", *, way: Way | None = None, client: str = ""
) -> Endpoint:
    """The broker, for a user of our own. A broker that is not ours knows one user.

    way: from the control machine; None from a machine of the fleet. client: the machine that connects, of which each begins with
    another node of our own RabbitMQ. Raises SecretsError if the URL is wrong.
    """
    if isinstance(fleet.broker, External):
        endpoint = _given(fleet, secrets, fleet.broker.url)
        if endpoint.scheme == SENTINEL and not fleet.master_name:
            raise SecretsError(f'{fleet.broker_name} is of sentinels: write "master_name" in broker as well')
        return _reached(fleet, endpoint, way)
    name = USERS[user]
    password = (way.passwords if way else {}).get(name) or secrets[name]
    if fleet.rabbitmq:
        own, port = account(user, password), fleet.rabbitmq.ports[0]
        addresses = [*map(fleet.address_of, fleet.broker_hosts)]
        turn = crc32(client.encode()) % len(addresses) if client else 0  # it stays if other machines come or go
        address, *others = addresses[turn:] + addresses[:turn]
        nodes = tuple((other, port) for other in others)
        endpoint = Endpoint(fleet.rabbitmq.scheme, address, port, own.name, own.password, VHOST, others=nodes)
    else:
        endpoint = Endpoint(fleet.broker.scheme, fleet.broker_address, fleet.broker.ports[0], user, password, BROKER_DB)
    return _reached(fleet, endpoint, way)


def results(fleet: Fleet, secrets: Mapping[str, str], *, way: Way | None = None) -> str | None:
    """The URL of the result backend; None if the app's own setting holds. Raises SecretsError if that URL or the broker's is
    wrong."""
    backend = fleet.settings.result_backend
    if backend == "app":
        return None
    if backend == "none":
        return DISABLED
    if backend.startswith(REFERENCE):
        return _given_results(fleet, secrets)[0]
    endpoint = broker(fleet, secrets, way=way)
    if endpoint.is_amqp:
        raise SecretsError(NO_RESULTS)
    return (replace(endpoint, path=RESULT_DB) if fleet.redis else endpoint).url


def result_server(fleet: Fleet, secrets: Mapping[str, str]) -> Endpoint | None:
    """The Redis of the results, as machines reach it, if a URL in the secrets file names one; None if results go elsewhere."""
    return _given_results(fleet, secrets)[1] if fleet.settings.result_backend.startswith(REFERENCE) else None


def tls_settings(fleet: Fleet, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Celery's settings for TLS from a machine of the fleet, if the URL cannot say them: {"broker_use_ssl": …} for amqps."""
    options = broker(fleet, secrets).use_ssl
    return {"broker_use_ssl": options} if options else {}


def celery_variables(fleet: Fleet, secrets: Mapping[str, str], *, way: Way | None = None, client: str = "") -> dict[str, str]:
    """The variables that Celery reads by itself: CELERY_BROKER_URL, and CELERY_RESULT_BACKEND unless the app's setting holds."""
    backend = results(fleet, secrets, way=way)
    variables = {"CELERY_BROKER_URL": broker(fleet, secrets, way=way, client=client).url}
    return variables | ({"CELERY_RESULT_BACKEND": backend} if backend is not None else {})


def _given_results(fleet: Fleet, secrets: Mapping[str, str]) -> tuple[str, Endpoint | None]:
    """The result backend's URL of the secrets file, and its parts if it is a Redis. Raises SecretsError."""
    name = fleet.settings.result_backend.removeprefix(REFERENCE)
    url = _checked(secrets[name])
    try:
        server = parse(url)
    except ValueError as error:
        # Celery knows more kinds of results than a fleet knows brokers.
        if "://" in url and url[:1] not in _QUOTES and not url.startswith(_REDIS):
            return url, None
        raise SecretsError(f"{fleet.settings.secrets_file}: {name} {error}") from None
    return url, server if server.scheme in ("redis", "rediss") else None


def _checked(url: str) -> str:
    """A result backend's URL. Celery refuses rediss:// without `ssl_cert_reqs`: then certificate and name are checked, as the
    broker's are."""
    if not url.startswith("rediss://") or "ssl_cert_reqs=" in url:
        return url
    name = "" if "ssl_check_hostname=" in url else "&ssl_check_hostname=true"
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required{name}"


def _given(fleet: Fleet, secrets: Mapping[str, str], url: str) -> Endpoint:
    name = url.removeprefix(REFERENCE)
    try:
        return parse(secrets[name] if url.startswith(REFERENCE) else url)
    except ValueError as error:
        raise SecretsError(f"{fleet.settings.secrets_file}: {name} {error}") from None


def _reached(fleet: Fleet, endpoint: Endpoint, way: Way | None) -> Endpoint:
    """An endpoint with the certificates of the place from which it is reached. Its URL goes before the settings."""
    if endpoint.is_encrypted:
        reqs = fleet.broker.ssl_cert_reqs if isinstance(fleet.broker, External) else "required"
        checked = way is not None and way.port is not None
        query = {"ssl_cert_reqs": reqs, "ssl_check_hostname": "true" if reqs == "required" and not checked else "false"}
        query |= {name: str(path) for name, path in _files(fleet, way is not None).items()}
        endpoint = replace(endpoint, query={**query, **endpoint.query})
    if way is None:
        return endpoint
    if endpoint.scheme == SENTINEL:
        address, port = way.primary or (endpoint.address, endpoint.port)
        endpoint = replace(endpoint, scheme="redis", address=address, port=port, others=())
    if endpoint.is_amqp and way.primary:
        endpoint = replace(endpoint, address=way.primary[0], port=way.primary[1], others=())
    if way.port is None:
        return endpoint
    scheme = "amqp" if endpoint.is_amqp else endpoint.scheme
    return replace(endpoint, scheme=scheme, address="127.0.0.1", port=way.port, others=())


def _files(fleet: Fleet, here: bool) -> dict[str, Path]:
    """Name in a URL's query → the file that clients use, here or on a machine of the fleet. Certificate and key of our own broker
    are the server's."""
    names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")[: 1 if fleet.own_broker else 3]
    paths = zip(names, paths_of(fleet), ON_MACHINES, strict=False)
    return {name: local.resolve() if here else remote for name, local, remote in paths if local}
