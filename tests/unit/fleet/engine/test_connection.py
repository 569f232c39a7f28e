"""Machines that are gone: the connection ends while a command is being sent, or nothing comes any more."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from paramiko import ECDSAKey
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.context import ctx_state

from benchmarks.loopback import Sshd, sshd
from fleet.engine import connection


class Cable:
    """A way to sshd. Once it is cut, it ends with the next byte of the client's. Once it is frozen, it takes what comes, as a
    relay does for a machine that is gone, and delivers nothing."""

    def __init__(self, server: Sshd) -> None:
        self._server, self._cut = server, Event()
        self._delivers: float = float("inf")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = [self._listening]
        self.port: int = self._listening.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """From now on."""
        self._cut.set()

    def freeze(self, after: int = 0) -> None:
        """From now on, but for so many bytes."""
        self._delivers = after

    def close(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server.port))
                self._ends += [client, server]
                Thread(target=self._pump, args=(client, server, True), daemon=True).start()
                Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, of_client: bool) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not (of_client and self._cut.is_set()):
                self._delivers -= len(data)
                if self._delivers >= 0:
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


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((connection.user_client, "append_hostkey"), (connection.connector, "get_private_key")):
        monkeypatch.setattr(module, name, getattr(module, name))  # undone at the end
    connection.install()


@pytest.mark.usefixtures("installed")
def test_a_key_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("binary").write_bytes(b"\x30\x82\xff")
    inventory = Inventory((["one"], {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_key": "binary"}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config())  # type: ignore[no-untyped-call]
    message = "ssh_key: binary is no private key; name the file that ssh-keygen made, without .pub"
    with ctx_state.use(state), pytest.raises(ConnectError, match=message):
        inventory.get_host("one").connect(raise_exceptions=True)


@pytest.mark.usefixtures("installed")
def test_a_full_disk_of_known_hosts_is_named() -> None:
    client = connection.user_client.SSHClient()
    client._host_keys_filename = "/dev/full"
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        connection.user_client.append_hostkey(client, "web1", ECDSAKey.generate())


def test_a_connection_that_ends_while_a_command_is_sent_fails_that_host_alone(cable: tuple[Cable, Any]) -> None:
    cut_off, host = cable
    connection.notice_when_gone(host)
    well, output = host.run_shell_command("echo here")
    assert (well, output.stdout) == (True, "here")
    cut_off.cut()
    # What pyinfra counts as a host that failed; an EOFError, which paramiko raises, ends its whole run by a traceback.
    with pytest.raises(OSError, match="the machine has ended the connection"):
        host.run_shell_command("echo here")


def test_a_connection_that_ends_during_a_command_is_told(cable: tuple[Cable, Any], tmp_path: Path) -> None:
    cut_off, host = cable
    connection.notice_when_gone(host)
    begun = tmp_path / "begun"

    def cut() -> None:
        while not begun.exists():
            time.sleep(0.05)
        cut_off.close()

    Thread(target=cut, daemon=True).start()
    with pytest.raises(OSError, match="the machine has ended the connection: look whether it is up, and run it again"):
        host.run_shell_command(f"touch {begun}; sleep 60")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "EVERY", 0.2)
    monkeypatch.setattr(connection, "PATIENCE", 1.0)


@pytest.mark.usefixtures("impatient")
def test_a_machine_that_is_gone_during_a_command_fails_that_host(cable: tuple[Cable, Any]) -> None:
    """No packet says so: TCP goes on acknowledging."""
    frozen, host = cable
    connection.notice_when_gone(host)
    assert host.run_shell_command("echo here")[0]
    frozen.freeze()
    with pytest.raises(OSError, match=r"no sign of life for 1 s: the machine, or the network to it, is gone\. Run it again"):
        host.run_shell_command("sleep 60")


@pytest.mark.usefixtures("impatient")
def test_a_machine_that_is_gone_while_an_archive_is_sent_fails_that_host(cable: tuple[Cable, Any]) -> None:
    frozen, host = cable
    connection.notice_when_gone(host)
    frozen.freeze(after=1_000_000)
    with pytest.raises(OSError, match="no sign of life"):
        host.run_shell_command("cat >/dev/null", _stdin="x" * 20_000_000)


@pytest.mark.usefixtures("impatient")
def test_a_command_may_be_silent_for_longer(cable: tuple[Cable, Any]) -> None:
    _, host = cable
    connection.notice_when_gone(host)
    well, output = host.run_shell_command("sleep 2.5; echo here")
    assert (well, output.stdout) == (True, "here")


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_is_made_anew_is_watched_too(cable: tuple[Cable, Any]) -> None:
    """As after a reboot."""
    frozen, host = cable
    connection.notice_when_gone(host)
    host.disconnect()
    host.connect()
    assert not host.run_shell_command("exit 3")[0]  # and it is no lost connection
    frozen.freeze()
    with pytest.raises(OSError, match="no sign of life"):
        host.run_shell_command("sleep 60")
