"""A machine whose connection ends at the worst moment: while a command is being sent to it."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.context import ctx_state

from benchmarks.loopback import Sshd, sshd
from fleet.engine import connection


class Cable:
    """A way to sshd that ends with the next byte of the client's, once it is cut."""

    def __init__(self, server: Sshd) -> None:
        self._server, self._cut = server, Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = [self._listening]
        self.port: int = self._listening.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """From now on."""
        self._cut.set()

    def close(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            client, _ = self._listening.accept()
            server = socket.create_connection(("127.0.0.1", self._server.port))
            self._ends += [client, server]
            Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, of_client: bool) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not (of_client and self._cut.is_set()):
                target.sendall(data)
            source.shutdown(socket.SHUT_RDWR)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[tuple[Cable, Any]]:
    """(cable, a pyinfra host that is connected through it)."""
    with sshd(tmp_path / "sshd") as server:
        cable = Cable(server)
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{cable.port} {(server.folder / 'host.pub').read_text()}")
        reach = {"ssh_hostname": "127.0.0.1", "ssh_port": cable.port, "ssh_user": server.user, "ssh_key": str(server.key)}
        inventory = Inventory((["one"], {**reach, "ssh_known_hosts_file": str(known_hosts)}))  # type: ignore[no-untyped-call]
        state = State(inventory, Config())  # type: ignore[no-untyped-call]
        with ctx_state.use(state):
            connect_all(state)
            host = inventory.get_host("one")
            yield cable, host
            host.disconnect()
        cable.close()


def test_a_connection_that_ends_while_a_command_is_sent_fails_that_host_alone(cable: tuple[Cable, Any]) -> None:
    cut_off, host = cable
    connection.notice_when_gone(host)
    well, output = host.run_shell_command("echo here")
    assert (well, output.stdout) == (True, "here")
    cut_off.cut()
    # What pyinfra counts as a host that failed; an EOFError, which paramiko raises, ends its whole run by a traceback.
    with pytest.raises(OSError, match="the machine has ended the connection"):
        host.run_shell_command("echo here")
