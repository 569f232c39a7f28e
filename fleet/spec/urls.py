"""URLs of brokers and result backends, as Celery takes them."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SENTINEL = "sentinel"
AMQP = ("amqp", "amqps")
ENCRYPTED = ("rediss", "amqps")
PORTS = {"redis": 6379, "rediss": 6379, SENTINEL: 26379, "amqp": 5672, "amqps": 5671}
"""Scheme of a broker that a fleet can use → the port that it has without another."""
_ADDRESS = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_CERT_REQS = {
    **{name.lower(): value for name, value in ssl.VerifyMode.__members__.items()},
    **{name.removeprefix("CERT_").lower(): value for name, value in ssl.VerifyMode.__members__.items()},
}
_NO_URL = "is no URL: in the password, write / ? # [ ] ; and % as %2F %3F %23 %5B %5D %3B and %25"
REFERENCE = "@"
"""The first letter of a value that names a secret."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server is reached, and as whom. Its repr hides the password.

    address: a name or an IP address. path: the database, or RabbitMQ's virtual host, without the slash before it. query: what
    follows the question mark. others: further addresses and ports, of sentinels or of RabbitMQ's other nodes.
    """

    scheme: str
    address: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    others: tuple[tuple[str, int], ...] = ()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """All that may be connected to."""
        return ((self.address, self.port), *self.others)

    @property
    def is_encrypted(self) -> bool:
        """Whether connections use TLS."""
        return self.scheme in ENCRYPTED

    @property
    def is_amqp(self) -> bool:
        """Whether it is a RabbitMQ."""
        return self.scheme in AMQP

    @property
    def use_ssl(self) -> dict[str, Any] | None:
        """Celery's setting `broker_use_ssl`, as plain values. None without TLS, and for Redis, whose URL says the same."""
        if self.scheme != "amqps":
            return None
        options: dict[str, Any] = {
            name: self.query[f"ssl_{name}"] for name in ("ca_certs", "certfile", "keyfile") if f"ssl_{name}" in self.query
        }
        options["cert_reqs"] = int(_CERT_REQS.get(self.query.get("ssl_cert_reqs", "").lower(), ssl.CERT_REQUIRED))
        # Without a name to compare with, py-amqp checks the chain alone; with one, it refuses not to check.
        if options["cert_reqs"] != ssl.CERT_NONE and self.query.get("ssl_check_hostname", "true") != "false":
            options["server_hostname"] = self.address
        return options

    @property
    def netloc(self) -> str:
        """Address and port, as a URL has them (an IPv6 address in brackets)."""
        return netloc(self.address, self.port)

    @property
    def url(self) -> str:
        """The whole, with its password."""
        who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user or self.password else ""
        # kombu's amqp hands what it reads of TLS in a URL to a library that does not know the names.
        shown = {name: value for name, value in self.query.items() if not (self.is_amqp and name.startswith("ssl_"))}
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in shown.items())
        rest = f"/{quote(self.path, safe='')}{f'?{query}' if query else ''}"
        netlocs = [who + self.netloc, *((who if self.is_amqp else "") + netloc(*other) for other in self.others)]
        return ";".join(f"{self.scheme}://{each}{rest}" for each in netlocs)

    @property
    def shown(self) -> str:
        """The same without user, password and query, for messages."""
        return replace(self, user="", password="", query={}).url


def netloc(address: str, port: int) -> str:
    """Address and port, as a URL has them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parse(text: str) -> Endpoint:
    """A broker's URL, or those of sentinels or of RabbitMQ's nodes with a ; between. Raises ValueError, which never has the
    password."""
    first, *others = map(_parse_one, text.split(";"))
    if others and {endpoint.scheme for endpoint in others} != {first.scheme}:
        raise ValueError("has addresses of different schemes; write the same before each")
    if others and not (first.is_amqp or first.scheme == SENTINEL):
        raise ValueError("has several addresses, which only sentinel://, amqp:// and amqps:// may have")
    if first.is_amqp:
        if any((other.user, other.password, other.path) != (first.user, first.password, first.path) for other in others):
            raise ValueError("has nodes of different users or virtual hosts: write the same USER:PASSWORD@ and /VHOST with each")
        path = first.path
    else:
        path = first.path if first.path != "0" or not others else others[-1].path
    return replace(first, path=path, others=tuple((endpoint.address, endpoint.port) for endpoint in others))


def _parse_one(text: str) -> Endpoint:
    if text[:1] in ("'", '"'):
        raise ValueError("begins with a quote; write the URL without quotes")
    scheme, separator, _ = text.partition("://")
    if not separator:
        raise ValueError("is no URL; write redis://:PASSWORD@ADDRESS:6379/0")
    if scheme.startswith("valkey"):
        raise ValueError(f"{scheme}:// is no scheme of Celery's; Valkey is reached by redis{'s' if scheme[6:] else ''}://")
    if scheme not in PORTS:
        raise ValueError(f"{scheme}:// is no broker that a fleet can use; write {', '.join(f'{name}://' for name in PORTS)}")
    try:
        parts = urlsplit(text)
        address, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_NO_URL) from None
    # Else a part of a password would be an address or a database, and be shown.
    after = parts.fragment if scheme in AMQP else f"{parts.path}{parts.fragment}"
    if "@" in after or ("@" not in parts.netloc and "@" in f"{parts.path}{parts.query}"):
        raise ValueError(_NO_URL)
    if not address or not _ADDRESS.fullmatch(address):
        example = "USER:PASSWORD@ADDRESS:{}/VHOST" if scheme in AMQP else ":PASSWORD@ADDRESS:{}/0"
        raise ValueError(f"has no address; write {scheme}://{example.format(PORTS[scheme])}")
    if scheme in AMQP:
        path = unquote(parts.path[1:]) or "/"  # as kombu: without one, RabbitMQ's own
    else:
        path = parts.path.strip("/") or "0"
        if not path.isdecimal():
            raise ValueError(f"has the database {path}; write its number, such as /0")
    query = dict(parse_qsl(parts.query))
    if (reqs := query.get("ssl_cert_reqs", "required")).lower() not in _CERT_REQS:
        raise ValueError(f"has ssl_cert_reqs={reqs}; write required or none")
    return Endpoint(
        scheme,
        address,
        port or PORTS[scheme],
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        path,
        query,
    )


def check_given(text: str) -> str:
    """A URL in group data: the name of a secret, or a URL that holds no password."""
    if text.startswith(REFERENCE):
        if not text[1:].isidentifier():
            raise ValueError('write the name of a secret after the @, such as "@BROKER_URL"')
        return text
    if parse(text).password:
        raise ValueError('a password does not belong in git: write "@BROKER_URL", and BROKER_URL=… in the secrets file')
    return text
