"""A new node of RabbitMQ does not start if it sees no other: it would begin a cluster of its own."""

import socket
import subprocess

import pytest

from roles import rabbitmq

NODES = ["rabbit@127.0.77.1", "rabbit@127.0.77.2"]


def test_a_node_starts_if_it_reaches_another() -> None:
    with socket.create_server(("127.0.77.2", 25672)):
        subprocess.run(["sh", "-c", rabbitmq.reach(NODES)], check=True)


@pytest.mark.long
def test_a_node_that_reaches_no_other_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "LOOK", 1)
    done = subprocess.run(["sh", "-c", rabbitmq.reach(NODES)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "RabbitMQ is not started here, since it would be a cluster of its own: this host does not reach 127.0.77.1 or "
        "127.0.77.2 on port 25672; it needs that and 4369\n"
    )
