"""What workers speak with the broker, and what of the settings does not go with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fleet.spec import secrets
from fleet.spec.broker import Broker, External
from fleet.spec.secrets import SecretsError
from fleet.spec.settings import Settings
from fleet.spec.urls import AMQP, REFERENCE, parse

NO_RESULTS = (
    'result_backend: "broker", and RabbitMQ keeps no results; write "@RESULT_URL" (a secret with the URL of a Redis or a '
    'database), "app" or "none"'
)


def scheme_of(broker: Broker | None, secrets_file: str) -> str:
    """The scheme of the broker's URL. Empty if it cannot be read: who needs the secrets says so."""
    if not isinstance(broker, External):
        return broker.scheme if broker else ""
    with suppress(SecretsError, ValueError, KeyError):
        url = broker.url
        return parse(secrets.read(Path(secrets_file))[url[1:]] if url.startswith(REFERENCE) else url).scheme
    return ""


def mistakes(broker: Broker, scheme: str, settings: Settings, has_flower: bool) -> Iterator[str]:
    """Settings that a broker of this kind cannot have. scheme: of `scheme_of`."""
    if scheme not in AMQP:
        return
    if settings.result_backend == "broker":
        yield NO_RESULTS
    if isinstance(broker, External) and broker.master_name:
        yield f"broker.master_name: is of sentinels, and the URL begins with {scheme}://; leave it out"
    if has_flower and scheme == "amqps":
        yield "monitor.flower: Flower cannot be told whom to trust of a RabbitMQ behind TLS: leave it out"
