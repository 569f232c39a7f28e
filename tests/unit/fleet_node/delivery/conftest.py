"""A Redis for tests that need no worker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.unit.shop_support import answering, free_port, process, redis_server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of its own, that answers with text."""
    port = free_port()
    with process(redis_server(port, tmp_path), tmp_path / "redis.log"), Redis(port=port, decode_responses=True) as client:
        answering(port)
        yield client
