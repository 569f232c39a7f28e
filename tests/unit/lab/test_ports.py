"""Two labs on one machine never meet."""

import socket

import pytest

from lab import ports
from lab.errors import LabError


def test_ports_in_use_and_taken_are_passed_over() -> None:
    first, second, third = ports.choose(3, "a", lambda _: True)
    assert ports.choose(1, "a", lambda port: port != first, frozenset({second})) == [third]


def test_other_labs_look_elsewhere() -> None:
    assert ports.choose(1, "a", lambda _: True) != ports.choose(1, "b", lambda _: True)
    assert ports.multicast_group("a") != ports.multicast_group("b")


def test_ports_stay_below_the_ephemeral_range() -> None:
    numbers = list(ports.candidates("x"))
    assert len(set(numbers)) == len(numbers) == ports.LAST - ports.FIRST
    assert max(numbers) < 32768


def test_too_few_ports_is_an_error() -> None:
    with pytest.raises(LabError, match="no 2 free ports"):
        ports.choose(2, "a", lambda port: port == ports.FIRST)


def test_a_bound_port_is_not_free() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        assert not ports.tcp_is_free(sock.getsockname()[1])
