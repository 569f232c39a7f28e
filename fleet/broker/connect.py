"""The fleet's broker from the control machine: through SSH, or straight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from fleet.broker.forwards import PATIENCE, Forwards, Hosts, UnreachedError, check_name, find_primary, greets
from fleet.broker.management import Management
from fleet.broker.passwords import not_yet_accepted
from fleet.broker.port import AwayError, Port, opened
from fleet.broker.relay import RelayError, Target, relayed
from fleet.broker.verdict import RefusedError
from fleet.errors import FleetError
from fleet.inventory.ssh import Process
from fleet.spec import endpoint
from fleet.spec.broker import External
from fleet.spec.endpoint import Way
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.rabbitmq import MANAGEMENT_PORT
from fleet.spec.urls import SENTINEL, Endpoint, netloc


@contextmanager
def broker(inventory: Inventory, fleet: Fleet) -> Iterator[dict[str, str]]:
    """CELERY_BROKER_URL and CELERY_RESULT_BACKEND, while the context lasts. Raises SecretsError, SSHError, UnreachedError and
    RefusedError."""
    known = endpoint.broker_secrets(fleet)
    with through(inventory.hosts, fleet, known) as variables:
        yield variables


@contextmanager
def through(hosts: Hosts, fleet: Fleet, known: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The same with secrets that are read already. Raises SSHError, UnreachedError and RefusedError."""
    with reached(hosts, fleet, known) as way:
        yield endpoint.celery_variables(fleet, known, way=way)


@contextmanager
def reached(
    hosts: Hosts, fleet: Fleet, known: Mapping[str, str], on_start: Callable[[Process], None] = lambda process: None
) -> Iterator[Way]:
    """The way to the broker, while the context lasts: see `fleet.spec.endpoint`. on_start: as of `forward`. Raises SSHError, and
    RefusedError if the server's certificate is refused."""
    server = endpoint.broker(fleet, known)
    is_direct = isinstance(fleet.broker, External) and fleet.broker.direct
    forwards = Forwards(hosts, jump_hosts(fleet), on_start, is_direct)
    if server.scheme == SENTINEL:
        assert fleet.master_name  # noqa: S101 - endpoint.broker refuses it
        primary = find_primary(server, fleet.master_name, forwards)
        with forwards.to(*primary) as (_, port):
            yield Way(port, primary)
        return
    if server.is_amqp:
        with _to_rabbitmq(fleet, known, forwards) as way:
            yield way
        return
    with forwards.to(server.address, server.port) as (host, port):
        here = endpoint.broker(fleet, known, way=Way())
        if server.query.get("ssl_check_hostname") == "true":
            check_name(("127.0.0.1", port) if port is not None else (server.address, server.port), here, host)
        yield _with_passwords(fleet, known, Way(port))


def _with_passwords(fleet: Fleet, known: Mapping[str, str], way: Way) -> Way:
    """The way with the passwords that our own broker accepts."""
    return replace(way, passwords=not_yet_accepted(fleet, known, way))


@contextmanager
def _to_rabbitmq(fleet: Fleet, known: Mapping[str, str], forwards: Forwards) -> Iterator[Way]:
    """The way to the first of RabbitMQ's nodes that answers. Raises SSHError, UnreachedError and RefusedError."""
    here = endpoint.broker(fleet, known, way=Way())
    problems: list[FleetError] = []
    for node in here.addresses:
        with ExitStack() as stack:
            try:
                way = _way_to_node(here, node, forwards, stack)
            except (UnreachedError, RefusedError) as error:
                problems.append(error)
                continue
            yield _with_passwords(fleet, known, way)
            return
    are_refusals = all(isinstance(error, RefusedError) for error in problems)
    raise (RefusedError if are_refusals else UnreachedError)("; ".join(map(str, problems)))


def _way_to_node(here: Endpoint, node: tuple[str, int], forwards: Forwards, stack: ExitStack) -> Way:
    """The way to one of RabbitMQ's nodes, as long as the stack lasts. Raises SSHError, UnreachedError and RefusedError."""
    host, local = stack.enter_context(forwards.to(*node))
    near = ("127.0.0.1", local) if local is not None else node
    shown = f"{here.scheme}://{netloc(*node)}"
    if here.use_ssl is None:
        if not greets(*near):
            raise UnreachedError(f"{shown}: no RabbitMQ answers there, from {host}")
        return Way(local, node)
    try:
        # Every node is checked for the same name, as workers do.
        return Way(stack.enter_context(relayed(Target(*near, name=here.address, options=here.use_ssl))))
    except RelayError as error:
        if error.is_refused:
            raise RefusedError(f"{shown}: its certificate is refused: {error}") from None
        raise UnreachedError(f"{shown}: no TLS with it from {host}: {error}") from None


def problems_of_nodes(hosts: Hosts, fleet: Fleet, known: Mapping[str, str]) -> list[str]:
    """Which of the nodes of a RabbitMQ that is not ours cannot be used, and why: workers that lose the others stay without.
    Raises SSHError."""
    here = endpoint.broker(fleet, known, way=Way())
    if not isinstance(fleet.broker, External) or not here.is_amqp:
        return []
    forwards = Forwards(hosts, jump_hosts(fleet), lambda _: None, fleet.broker.direct)
    problems = []
    for node in here.addresses if here.others else ():
        with ExitStack() as stack:
            try:
                _way_to_node(here, node, forwards, stack)
            except (UnreachedError, RefusedError) as error:
                problems.append(str(error))
    return problems


@contextmanager
def session(
    hosts: Hosts,
    fleet: Fleet,
    known: Mapping[str, str],
    on_start: Callable[[Process], None] = lambda process: None,
    patience: float = PATIENCE,
) -> Iterator[Port]:
    """The broker, to look at, while the context lasts. patience: seconds for an answer. Raises SSHError and UnreachedError, and
    AwayError if the broker itself does not answer."""
    with reached(hosts, fleet, known, on_start) as way:
        worker, monitor = (endpoint.broker(fleet, known, user, way=way) for user in endpoint.USERS)
        with (
            management(hosts, fleet, monitor, on_start) as api,
            opened(worker.url, monitor=monitor.url, management=api, patience=patience) as port,
        ):
            yield port


@contextmanager
def management(
    hosts: Hosts, fleet: Fleet, monitor: Endpoint, on_start: Callable[[Process], None] = lambda process: None
) -> Iterator[Management | None]:
    """The management API of our own RabbitMQ: each of its machines has it on loopback. None of any other broker. Raises
    SSHError."""
    if fleet.rabbitmq is None:
        yield None
        return
    with Forwards(hosts, fleet.broker_hosts, on_start).to("127.0.0.1", MANAGEMENT_PORT) as (_, local):
        assert local is not None  # noqa: S101 - a machine is between
        yield Management(local, monitor.user, monitor.password, len(fleet.broker_hosts))


@contextmanager
def results(hosts: Hosts, fleet: Fleet, server: Endpoint) -> Iterator[str]:
    """The URL of a Redis of results from here, while the context lasts: through a machine with workers, unless the broker is
    reached straight. server: as machines reach it. Raises SSHError, and RefusedError if its certificate is refused."""
    is_direct = isinstance(fleet.broker, External) and fleet.broker.direct
    between = [name for name, host in fleet.hosts.items() if host.workers]
    with Forwards(hosts, between, lambda _: None, is_direct).to(server.address, server.port) as (host, port):
        if port is None:
            yield server.url
            return
        near = replace(server, address="127.0.0.1", port=port)
        if server.is_encrypted:
            if server.query.get("ssl_cert_reqs", "required") not in ("none", "CERT_NONE"):
                check_name(("127.0.0.1", port), server, host)
            near = replace(near, query={**server.query, "ssl_check_hostname": "false"})
        yield near.url


@contextmanager
def results_here(hosts: Hosts, fleet: Fleet, known: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """CELERY_RESULT_BACKEND as this machine reaches it, while the context lasts, if that is another than machines have: of a
    Redis at a URL of the secrets file. Of rediss:// whose files are on the machines alone, it stays theirs. Raises SSHError,
    UnreachedError and RefusedError."""
    server = endpoint.result_server(fleet, known)
    authority = server.query.get("ssl_ca_certs") if server else None
    if server is None or (authority and not Path(authority).exists()):
        yield {}
        return
    with results(hosts, fleet, server) as url:
        yield {"CELERY_RESULT_BACKEND": url}


@contextmanager
def read_session(inventory: Inventory, fleet: Fleet) -> Iterator[Port]:
    """The same, with secrets that are read now. Raises SecretsError and SSHError, and UnreachedError if the broker does not
    answer."""
    known = endpoint.broker_secrets(fleet)
    try:
        with session(inventory.hosts, fleet, known, patience=30) as port:
            yield port
    except AwayError as error:
        raise UnreachedError(f"{fleet.broker_name}: the broker does not answer: {error}") from None


def jump_hosts(fleet: Fleet) -> list[str]:
    """The machines through which the broker is reached, the best first."""
    return [*fleet.broker_hosts] or [name for name, host in fleet.hosts.items() if host.workers]
