"""A bootstep of the app that consumes a queue of its own on the worker's connection, beside the tasks."""

from __future__ import annotations

from typing import Any

from celery import Celery, bootsteps
from kombu import Consumer, Queue

from tests.unit.fleet_node.delivery.cases import PATIENCE, case, connected, fill, rest, until, written_down

COMMANDS = "beside"
"""The queue on which the step is told what to do."""


class Beside(bootsteps.ConsumerStep):  # type: ignore[misc]
    """Consumes COMMANDS: each message says what is done with it, or with another queue. It runs in the worker's main loop.

    What it does it says in the list that a message names.
    """

    def __init__(self, parent: Any, **more: Any) -> None:
        super().__init__(parent, **more)
        self.consumers: list[Any] = []
        self.open: dict[str, Consumer] = {}
        self.held: dict[str, list[Any]] = {}

    def get_consumers(self, channel: Any) -> list[Any]:
        return [Consumer(channel, [Queue(COMMANDS)], on_message=self.command, accept=["json"])]

    def start(self, c: Any) -> None:
        self.connection, self.backend, self.call_soon = c.connection, c.app.backend, c.call_soon
        super().start(c)

    def command(self, message: Any) -> None:
        """A message says: [command, queue]. It is obeyed when it has been read: kombu closes no channel while it reads."""
        message.ack()
        self.call_soon(self.obey, *message.decode())

    def obey(self, command: str, queue: str) -> None:
        """Do a command."""
        done = getattr(self, command)(queue)
        self.backend.client.rpush(f"{queue}.done", str(done))

    def consume(self, queue: str, **options: Any) -> str:
        """Consume a queue on a channel of its own, and keep what comes."""
        held = self.held.setdefault(queue, [])

        def take(message: Any) -> None:
            held.append(message)
            self.backend.client.rpush(f"{queue}.got", str(message.decode()))

        consumer = self.open[queue] = Consumer(self.connection.channel(), [Queue(queue)], on_message=take, **options)
        consumer.consume()
        return "consumes"

    def consume_no_ack(self, queue: str) -> str:
        """The same of a consumer that does not acknowledge."""
        return self.consume(queue, no_ack=True)

    def consume_two(self, queue: str) -> str:
        """The same with a prefetch limit."""
        return self.consume(queue, prefetch_count=2)

    def acknowledge(self, queue: str) -> int:
        """Acknowledge all that was kept."""
        return self._each(queue, "ack")

    def reject(self, queue: str) -> int:
        """Reject it."""
        return self._each(queue, "reject")

    def requeue(self, queue: str) -> int:
        """Requeue it; when it comes again it is kept again."""
        return self._each(queue, "requeue")

    def _each(self, queue: str, what: str) -> int:
        held, self.held[queue][:] = list(self.held[queue]), []
        for message in held:
            getattr(message, what)()
        return len(held)

    def recover(self, queue: str) -> str:
        """Give back what the channel has not acknowledged, and no more of it."""
        consumer = self.open[queue]
        consumer.cancel()
        consumer.recover(requeue=True)
        return "recovered"

    def close_channel(self, queue: str) -> str:
        """Close the channel of a queue's consumer."""
        consumer = self.open.pop(queue)
        consumer.cancel()
        consumer.channel.close()
        return "closed"

    def get_one(self, queue: str) -> Any:
        """Get one message, and requeue it."""
        with self.connection.channel() as channel:
            message = channel.basic_get(queue)
            message.requeue()
            return message.decode()


def ordered(app: Celery, name: str, *commands: str) -> list[str]:
    """Have the step do something with a queue. Returns all that it has said of it."""
    with connected(app) as connection:
        fill(connection.default_channel, COMMANDS, *([command, name] for command in commands))
    return said(app, f"{name}.done", len(commands))


def said(app: Celery, key: str, number: int) -> list[str]:
    """So many lines that the step has said, removed."""
    client = app.backend.client
    until(lambda: client.llen(key) >= number)
    lines = [line.decode() for line in client.lrange(key, 0, -1)]
    client.delete(key)
    return lines


def sent(app: Celery, name: str, *what: Any) -> None:
    """Send messages to a queue."""
    with connected(app) as connection:
        fill(connection.default_channel, name, *what)


def left(app: Celery, name: str) -> list[Any]:
    """What is in a queue."""
    with connected(app) as connection:
        return rest(connection.default_channel, name)


def forget(app: Celery, name: str) -> None:
    """End the consumer of a queue."""
    ordered(app, name, "acknowledge", "close_channel")


@case([["1", "2", "3"], 3, ["3"], 0, []])
def a_step_has_messages_until_it_acknowledges_them(app: Celery, name: str) -> Any:
    sent(app, name, 1, 2, 3)
    ordered(app, name, "consume")
    got = said(app, f"{name}.got", 3)
    held = written_down(app, name)
    acknowledged = ordered(app, name, "acknowledge")
    until(lambda: not written_down(app, name))
    result = [got, held, acknowledged, written_down(app, name), left(app, name)]
    forget(app, name)
    return result


@case([["1", "2"], 0])
def a_step_that_does_not_acknowledge_leaves_nothing_behind(app: Celery, name: str) -> Any:
    sent(app, name, 1, 2)
    ordered(app, name, "consume_no_ack")
    got = said(app, f"{name}.got", 2)
    until(lambda: not written_down(app, name))
    result = [got, written_down(app, name)]
    forget(app, name)
    return result


@case([["1"], 0, []])
def what_a_step_rejects_is_gone(app: Celery, name: str) -> Any:
    sent(app, name, 1)
    ordered(app, name, "consume")
    got = said(app, f"{name}.got", 1)
    ordered(app, name, "reject")
    until(lambda: not written_down(app, name))
    result = [got, written_down(app, name), left(app, name)]
    forget(app, name)
    return result


@case([["1"], ["1"]])
def what_a_step_requeues_comes_again(app: Celery, name: str) -> Any:
    sent(app, name, 1)
    ordered(app, name, "consume")
    first = said(app, f"{name}.got", 1)
    ordered(app, name, "requeue")
    again = said(app, f"{name}.got", 1)
    forget(app, name)
    return [first, again]


@case([["1", "2"], ["3", "4"]])
def the_prefetch_limit_of_a_step_is_its_own(app: Celery, name: str) -> Any:
    sent(app, name, 1, 2, 3, 4)
    ordered(app, name, "consume_two")
    first = said(app, f"{name}.got", 2)
    app.tasks["cases.echo"].delay(1).get(timeout=PATIENCE, disable_sync_subtasks=False)
    ordered(app, name, "acknowledge")
    second = said(app, f"{name}.got", 2)
    forget(app, name)
    return [first, second]


@case([40, "ran"])
def a_step_that_keeps_much_keeps_no_task_waiting(app: Celery, name: str) -> Any:
    sent(app, name, *range(40))
    ordered(app, name, "consume")
    got = said(app, f"{name}.got", 40)
    ran = app.tasks["cases.echo"].delay("ran").get(timeout=PATIENCE, disable_sync_subtasks=False)
    forget(app, name)
    return [len(got), ran]


@case([["1", "2"], [1, 2], 0])
def what_a_step_kept_comes_back_when_its_channel_is_closed(app: Celery, name: str) -> Any:
    sent(app, name, 1, 2)
    ordered(app, name, "consume")
    got = said(app, f"{name}.got", 2)
    ordered(app, name, "close_channel")
    return [got, sorted(left(app, name)), written_down(app, name)]


@case([["1", "2"], [1, 2], 0, 1])
def a_step_recovers_what_is_its_own(app: Celery, name: str) -> Any:
    """And not the task's, which is written down beside it."""
    sent(app, name, 1, 2)
    ordered(app, name, "consume")
    got = said(app, f"{name}.got", 2)
    ordered(app, name, "recover")
    back = sorted(left(app, name))
    task = app.tasks["cases.late"].delay().get(timeout=PATIENCE, disable_sync_subtasks=False)
    result = [got, back, written_down(app, name), task]
    ordered(app, name, "close_channel")
    return result


@case([["1"], [1], 0])
def a_step_gets_one_message_and_requeues_it(app: Celery, name: str) -> Any:
    sent(app, name, 1)
    got = ordered(app, name, "get_one")
    return [got, left(app, name), written_down(app, name)]
