"""The HTTP session and the database engine, made once a process and shared by its tasks.

Both are made on first use, after the fork. A child drops an inherited object without closing it: it is the parent's.
"""

import os
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from threading import Lock
from typing import Any, Generic, TypeVar

import requests
from celery.signals import worker_process_init
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from sqlalchemy import Engine, create_engine, event
from urllib3.util.retry import Retry

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Calls `make` on the first use in this process; every later use gets the same object."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: T | None = None
        self._lock = Lock()

    def __call__(self) -> T:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def forget(self) -> T | None:
        """Start anew, with a free lock. Returns the object that was made before, if any."""
        made, self._made, self._lock = self._made, None, Lock()
        return made


def make_http() -> requests.Session:
    """A session that keeps its connections and retries safe requests."""
    retry = Retry(total=4, backoff_factor=0.2, status_forcelist=(429, 502, 503, 504), allowed_methods=("GET",))
    # Shared, not one a thread: a gevent worker runs each task in a new greenlet, which would never see a used connection.
    # The pool is safe to share; the size is the most tasks at once (connections open on demand), and beyond it tasks wait.
    adapter = HTTPAdapter(max_retries=retry, pool_connections=10, pool_maxsize=100, pool_block=True)
    session = requests.Session()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    # Requests change no other state of a session than its cookies, so it accepts none.
    session.cookies = RequestsCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    return session


def make_engine() -> Engine:
    """A pooled engine for DATABASE_URL (an SQLAlchemy URL; the default is a file in the working directory)."""
    url = os.environ.get("DATABASE_URL", "sqlite:///shop.db")
    engine = create_engine(url, pool_size=5, max_overflow=10, pool_pre_ping=True, pool_recycle=1800)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", tune_sqlite)
    return engine


def tune_sqlite(connection: Any, _record: object) -> None:
    """Let readers and one writer work at once, and a second writer wait up to 10 s rather than fail."""
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


http = PerProcess(make_http)
engine = PerProcess(make_engine)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def drop_what_the_parent_made(**_: object) -> None:
    """A socket used by two processes mixes up their answers."""
    http.forget()
    if inherited := engine.forget():
        inherited.dispose(close=False)
