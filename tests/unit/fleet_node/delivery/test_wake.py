"""A loop is woken however closely a ring follows the last one."""

import os
from collections.abc import Callable
from select import select

import pytest

from fleet_node.delivery.wake import Wake


def test_a_ring_while_the_last_one_is_cleared_does_not_make_it_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    wake = Wake()
    wake.ring()
    read: Callable[[int, int], bytes] = os.read

    def read_after_a_ring(fd: int, size: int) -> bytes:
        wake.ring()  # another thread, just then
        return read(fd, size)

    with monkeypatch.context() as here:
        here.setattr(os, "read", read_after_a_ring)
        wake.clear()
    wake.ring()
    assert select([wake.fileno()], [], [], 0)[0]
