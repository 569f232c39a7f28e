"""Tells workers what they are lent out for (`fleet_node.worker.loans`), with Debian's kombu."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from kombu import Connection  # type: ignore[attr-defined]  # kombu's types are unfinished
from kombu.pidbox import Mailbox

from fleet.capacity.balance.policy import Order

EXCHANGE = "celery"
"""Celery's setting control_exchange."""
ANSWER = 3.0
"""Seconds that a worker has to answer."""


class Teller:
    """url: of the broker, with a user that may ask workers. use_ssl: Celery's broker_use_ssl, of a RabbitMQ with TLS.
    master_name: of the primary, if the URL is of sentinels."""

    def __init__(self, url: str, use_ssl: Mapping[str, Any] | None, master_name: str | None) -> None:
        self._url, self._use_ssl = url, use_ssl
        is_redis = not url.startswith("amqp")
        self._options: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0} if is_redis else {}
        self._options |= {"master_name": master_name} if master_name else {}

    def tell(self, orders: Iterable[Order], prefix: str = "") -> dict[str, str]:
        """Node → why it is not lent out so, of those that are not. prefix: the app's global_keyprefix. Raises what kombu raises
        if the broker does not answer."""
        options = {**self._options, **({"global_keyprefix": prefix} if prefix else {})}
        problems = {}
        with Connection(self._url, ssl=self._use_ssl, transport_options=options) as connection:  # type: ignore[no-untyped-call]
            mailbox = Mailbox(EXCHANGE, type="fanout", serializer="json", accept=["json"])(connection)  # type: ignore[no-untyped-call]
            for order in orders:
                if why := self._told(mailbox, order):
                    problems[order.node] = why
            with suppress(Exception), connection.channel() as channel:  # a reply queue without a reader stays (celery#6089)
                mailbox.reply_queue(channel).delete()
        return problems

    def _told(self, mailbox: Any, order: Order) -> str:
        replies = mailbox._broadcast(
            "fleet_lend", arguments=order.arguments, destination=[order.node], reply=True, timeout=ANSWER, limit=1
        )
        answer = (replies or [{}])[0].get(order.node)
        return f"does not answer in {ANSWER:g} s" if answer is None else str(answer.get("error", ""))
