"""How a client of Redis waits for a server that is away."""

from __future__ import annotations

from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry


def every_second(times: int) -> Retry:
    """A retry of so many times, one a second.

    redis-py before 7 does not try again by itself while nobody listens at the address: that is an OSError.
    """
    return Retry(ConstantBackoff(1), times, (RedisConnectionError, RedisTimeoutError, OSError))
