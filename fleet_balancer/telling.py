"""Tells workers what they are lent out for (`fleet_node.worker.loans`), with Debian's kombu."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from kombu import Connection  # type: ignore[attr-defined]  # kombu's types are unfinished
from kombu.pidbox import Mailbox

from fleet.capacity.balance.policy import Order
from fleet_exporter.sentinels import SCHEME, Sentinels

EXCHANGE = "celery"
"""Celery's setting control_exchange."""
PATIENCE = 5.0
"""Seconds for the broker."""
ANSWER = 3.0
"""Seconds that a worker has to answer."""


class Teller:
    """url: of the broker, with a user that may ask workers. use_ssl: Celery's broker_use_ssl, of a RabbitMQ with TLS.
    master_name: of the primary, if the URL is of sentinels."""

    def __init__(self, url: str, use_ssl: Mapping[str, Any] | None, master_name: str | None) -> None:
        self._url, self._use_ssl, self._master_name = url, use_ssl, master_name
        self._options: dict[str, Any] = {}
        if not url.startswith("amqp"):
            self._options = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}

    def tell(self, orders: Iterable[Order], prefix: str = "") -> dict[str, str]:
        """Node → why it is not lent out so, of those that are not. prefix: the app's global_keyprefix. Raises what kombu raises
        if the broker does not answer, and what redis does if no sentinel names a primary."""
        # Debian's kombu (5.2) would ask on a channel of sentinels that no worker hears: its name has an unfilled "{db}" in it.
        url = Sentinels.of(self._url).url(self._master_name, PATIENCE) if self._url.startswith(SCHEME) else self._url
        options = {**self._options, **({"global_keyprefix": prefix} if prefix else {})}
        problems = {}
        with Connection(url, ssl=self._use_ssl, transport_options=options) as connection:  # type: ignore[no-untyped-call]
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
