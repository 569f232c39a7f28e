"""A primary that sentinels name: by redis-py of the distribution, in which kombu's own way to it has a defect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.sentinel import Sentinel

SCHEME = "sentinel://"


@dataclass(frozen=True)
class Sentinels:
    """addresses: of the sentinels. login: of the primary, as its URL has it, up to the @. db: its database."""

    addresses: tuple[tuple[str | None, int], ...]
    login: str = field(repr=False)
    db: str

    @staticmethod
    def of(url: str) -> Sentinels:
        """By a broker's URL, of which the first part has login and database."""
        first, *others = map(urlsplit, url.split(";"))
        addresses = tuple((each.hostname, each.port or 26379) for each in (first, *others))
        login, at, _ = first.netloc.rpartition("@")
        return Sentinels(addresses, f"{login}{at}", first.path.strip("/") or "0")

    def client(self, name: str | None, **options: Any) -> Redis:
        """A client of the primary, which is asked for at each connection."""
        user, _, password = self.login.rstrip("@").partition(":")
        login = {"username": unquote(user) or None, "password": unquote(password) or None}
        primary: Redis = self._known(options["socket_timeout"]).master_for(name, db=int(self.db), **login, **options)
        return primary

    def url(self, name: str | None, timeout: float) -> str:
        """The primary's URL now. timeout: seconds for each sentinel. Raises redis.ConnectionError if none names one."""
        host, port = self._known(timeout).discover_master(name)
        return f"redis://{self.login}{f'[{host}]' if ':' in host else host}:{port}/{self.db}"

    def _known(self, timeout: float) -> Any:
        return Sentinel([*self.addresses], socket_timeout=timeout)  # type: ignore[no-untyped-call]
