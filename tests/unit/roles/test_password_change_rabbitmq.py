"""A password of RabbitMQ changes under load, by the commands of a deploy: workers and producers go on."""

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import Connection
from amqp.exceptions import AccessRefused

from fleet.plan.facts import MachineFacts
from fleet.plan.plan import resolved
from fleet.spec import endpoint
from fleet.spec.endpoint import Way
from roles import rabbitmq
from tests.unit.fleet.conftest import app_folder
from tests.unit.fleet_node.broker.rabbitmq_machine import QUEUES, rabbit_machine
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.rabbitmq_support import SCRIPTS, Node, Vhost, running_node
from tests.unit.roles.test_password_change import TASK, producing
from tests.unit.roles.test_rabbitmq_definitions import BEFORE, SECRETS, WORKER, a_fleet

__all__ = ["app_folder"]
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("app_folder")]

CONFIRMED = 'app.conf.update(broker_transport_options={"confirm_publish": True}, broker_connection_timeout=30)\n'
CHANGING = {**SECRETS, WORKER: "new", BEFORE: SECRETS[WORKER]}
CHANGED = {**SECRETS, WORKER: "new"}


class Broker:
    """A RabbitMQ that gets its users as a deploy brings them."""

    def __init__(self, node: Node) -> None:
        self._node, self._fleet = node, a_fleet()
        facts = dict.fromkeys(self._fleet.hosts, MachineFacts(4, 4 << 30))
        self._run: Any = SimpleNamespace(fleet=self._fleet, plan=resolved(self._fleet, facts), secrets=SECRETS)

    def tell(self, secrets: dict[str, str], command: Callable[[Any], str]) -> None:
        """Run a command of a deploy with these secrets."""
        self._run.secrets = secrets
        script = command(self._run).replace('chown root:rabbitmq "$new"\n', "")
        environment = self._node.environment
        environment["PATH"] = f"{SCRIPTS}:{environment['PATH']}"
        content = rabbitmq.definitions_file(self._run).content
        done = subprocess.run(["sh", "-c", script], input=content, env=environment, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def url(self, secrets: dict[str, str]) -> str:
        return endpoint.broker(self._fleet, secrets, way=Way(self._node.port)).url

    def accepts(self, secrets: dict[str, str]) -> bool:
        server = endpoint.broker(self._fleet, secrets, way=Way(self._node.port))
        connection = Connection(f"{server.address}:{server.port}", server.user, server.password, virtual_host=server.path)
        try:
            connection.connect()
        except AccessRefused:
            return False
        connection.close()
        return True


def test_nobody_is_refused_while_a_password_of_rabbitmq_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "FOLDER", str(tmp_path))
    monkeypatch.setattr(rabbitmq, "DEFINITIONS", str(tmp_path / "definitions.json"))
    ran = tmp_path / "ran"
    more = QUEUES + CONFIRMED
    with ExitStack() as stack:
        node = stack.enter_context(running_node(tmp_path / "node"))
        broker = Broker(node)
        broker.tell(SECRETS, lambda run: rabbitmq.accept())
        here = stack.enter_context(rabbit_machine(tmp_path, Vhost(node, "fleet"), "threads"))
        here.broker = broker.url(SECRETS)
        release = here.release("r", TASK.format(path=str(ran)) + QUEUES)
        for number in (1, 2):
            here.start(release, number)
        steady, fresh = (
            stack.enter_context(producing(tmp_path, broker.url(SECRETS), name, reconnects, more))
            for name, reconnects in (("steady", False), ("fresh", True))
        )

        broker.tell(CHANGING, lambda run: rabbitmq.accept())
        assert broker.accepts(SECRETS) and broker.accepts(CHANGING)
        assert steady.goes_on() and fresh.goes_on()

        here.broker = broker.url(CHANGING)
        for number in (1, 2):
            assert here.bring("restart", [f"celery-web@{number}.service"]), here.output(number)
            assert steady.goes_on() and fresh.goes_on()
        broker.tell(CHANGING, rabbitmq.settle)
        assert broker.accepts(SECRETS), "it is in the secrets file"
        assert steady.goes_on() and fresh.goes_on()

        renewed = stack.enter_context(producing(tmp_path, broker.url(CHANGED), "renewed", True, more))
        for producer in (steady, fresh):
            producer.end()
        broker.tell(CHANGED, lambda run: rabbitmq.accept())
        assert broker.accepts(SECRETS), "workers are still asked whether they have the new one"
        broker.tell(CHANGED, rabbitmq.settle)
        assert (broker.accepts(SECRETS), broker.accepts(CHANGED)) == (False, True)
        assert renewed.goes_on()
        renewed.end()

        outcomes = {number: outcome for of in (steady, fresh, renewed) for number, outcome in of.outcomes().items()}
        assert {number: outcome for number, outcome in outcomes.items() if outcome != "sent"} == {}
        assert until(lambda: set(outcomes) <= set(ran.read_text().split())), "tasks were lost"
        assert sorted(ran.read_text().split()) == sorted(outcomes), "tasks ran that nobody has sent, or twice"
        for number in (1, 2):
            assert "ACCESS_REFUSED" not in here.output(number) and "Connection to broker lost" not in here.output(number)
