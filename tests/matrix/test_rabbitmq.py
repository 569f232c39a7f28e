"""A worker of RabbitMQ's is well, and its drain loses nothing."""

from pathlib import Path

from tests.matrix.sets import Cell, python_of
from tests.unit.fleet_node.broker.rabbitmq_machine import is_well_and_drains, producer, rabbit_machine
from tests.unit.rabbitmq_support import Vhost


def test_a_worker_drains_and_is_well(cell: Cell, tmp_path: Path, vhost: Vhost) -> None:
    with rabbit_machine(tmp_path, vhost, cell.pool) as here, producer(here) as client:
        here.python = str(python_of(cell.versions))
        is_well_and_drains(here, client, vhost)
