"""URLs of brokers and result backends, as Celery takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SENTINEL = "sentinel"
PORTS = {"redis": 6379, "rediss": 6379, SENTINEL: 26379}
"""Scheme of a broker that a fleet can use → the port that it has without another."""
_ADDRESS = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
REFERENCE = "@"
"""The first letter of a value that names a secret."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server is reached, and as whom. Its repr hides the password.

    address: a name or an IP address. path: the database, without a slash. query: what follows the question mark. others: further
    addresses and ports, of sentinels.
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
        return self.scheme == "rediss"

    @property
    def netloc(self) -> str:
        """Address and port, as a URL has them (an IPv6 address in brackets)."""
        return netloc(self.address, self.port)

    @property
    def url(self) -> str:
        """The whole, with its password."""
        who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user or self.password else ""
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in self.query.items())
        rest = f"/{self.path}{f'?{query}' if query else ''}"
        netlocs = [who + self.netloc, *(netloc(*other) for other in self.others)]
        return ";".join(f"{self.scheme}://{each}{rest}" for each in netlocs)

    @property
    def shown(self) -> str:
        """The same without user, password and query, for messages."""
        return replace(self, user="", password="", query={}).url


def netloc(address: str, port: int) -> str:
    """Address and port, as a URL has them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parse(text: str) -> Endpoint:
    """A broker's URL, or those of sentinels with a ; between. Raises ValueError, which never has the password."""
    first, *others = map(_parse_one, text.split(";"))
    if others and {endpoint.scheme for endpoint in (first, *others)} != {SENTINEL}:
        raise ValueError("has several addresses, which only sentinel:// may have")
    last = others[-1] if others else first
    path = first.path if first.path != "0" else last.path
    return replace(first, path=path, others=tuple((endpoint.address, endpoint.port) for endpoint in others))


def _parse_one(text: str) -> Endpoint:
    scheme, separator, _ = text.partition("://")
    if not separator:
        raise ValueError("is no URL; write redis://:PASSWORD@ADDRESS:6379/0")
    if scheme.startswith("valkey"):
        raise ValueError(f"{scheme}:// is no scheme of Celery's; Valkey is reached by redis{'s' if scheme[6:] else ''}://")
    if scheme not in PORTS:
        raise ValueError(f"{scheme}:// is no broker that a fleet can use; write redis://, rediss:// or sentinel://")
    try:
        parts = urlsplit(text)
        address, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL: a /, ?, # or [ in the password has to be written as %2F, %3F, %23, %5B") from None
    if not address or not _ADDRESS.fullmatch(address):
        raise ValueError(f"has no address; write {scheme}://:PASSWORD@ADDRESS:{PORTS[scheme]}/0")
    path = parts.path.strip("/")
    if path and not path.isdecimal():
        raise ValueError(f"has the database {path}; write its number, such as /0")
    return Endpoint(
        scheme,
        address,
        port or PORTS[scheme],
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        path or "0",
        dict(parse_qsl(parts.query)),
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
