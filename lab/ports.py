"""Ports and the multicast group of a lab, so that two labs on one machine never meet."""

import hashlib
import socket
from collections.abc import Callable, Iterator

from lab.errors import LabError

# Below the kernel's ephemeral range (from 32768), or an outgoing connection could take the port in between.
FIRST, LAST = 20000, 32000


def _start(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")


def candidates(seed: str) -> Iterator[int]:
    """Every port of the range once, from a start that `seed` decides: two labs rarely try the same port first."""
    span = LAST - FIRST
    return (FIRST + (_start(seed) + step) % span for step in range(span))


def choose(count: int, seed: str, is_free: Callable[[int], bool], taken: frozenset[int] = frozenset()) -> list[int]:
    """`count` ports that are free and not `taken`. Raises `LabError` when the range has too few."""
    chosen: list[int] = []
    for port in candidates(seed):
        if len(chosen) == count:
            break
        if port not in taken and is_free(port):
            chosen.append(port)
    if len(chosen) < count:
        raise LabError(f"no {count} free ports on 127.0.0.1 between {FIRST} and {LAST}")
    return chosen


def multicast_group(seed: str) -> str:
    """The group of the lab's LAN: 230.77.x.y, x and y from `seed` (the lab's directory)."""
    start = _start(seed)
    return f"230.77.{start >> 8 & 255}.{start & 255}"


def tcp_is_free(port: int) -> bool:
    """Whether 127.0.0.1:`port` can be bound now."""
    return _binds(socket.SOCK_STREAM, port)


def udp_is_free(port: int) -> bool:
    """Whether UDP `port` can be bound now."""
    return _binds(socket.SOCK_DGRAM, port)


def _binds(kind: socket.SocketKind, port: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
