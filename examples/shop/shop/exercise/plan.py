"""The tasks to send, and the answer that each must give. The answers do not come from the tasks' own code."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count, islice
from typing import Any

# The number of primes up to the key, from the published table of pi(x).
PRIMES = {20_000: 2_262, 25_000: 2_762, 30_000: 3_245, 35_000: 3_732}
MEGABYTES = 20


@dataclass(frozen=True)
class Job:
    """One task to send, and the part of its answer that is known beforehand."""

    task: str
    args: tuple[Any, ...]
    expected: Mapping[str, Any]


def jobs(number: int, supplier: str, prices: Mapping[str, int], run: str) -> list[Job]:
    """`number` jobs, all kinds in turn. `run` makes the order ids new, so that each order is a real insert."""
    return list(islice(every_kind(supplier, prices, run), number))


def every_kind(supplier: str, prices: Mapping[str, int], run: str) -> Iterator[Job]:
    """Jobs without end."""
    skus, limits = sorted(prices), sorted(PRIMES)
    for turn in count():
        sku, quantity, limit, numbers = skus[turn % len(skus)], 1 + turn % 9, limits[turn % len(limits)], 1000 + turn % 997
        cents, order = prices[sku], f"{run}-{turn}"
        yield Job("shop.tasks.prices.fetch_price", (supplier, sku), {"sku": sku, "price_cents": cents})
        yield Job(
            "shop.tasks.orders.place_order",
            (order, sku, quantity, cents),
            {"order_id": order, "sku": sku, "quantity": quantity, "total_cents": quantity * cents},
        )
        yield Job("shop.tasks.reports.count_primes", (limit,), {"primes": PRIMES[limit]})
        yield Job("shop.tasks.ml.sum_of_squares", (numbers,), {"total": (numbers - 1) * numbers * (2 * numbers - 1) // 6})
        yield Job("shop.tasks.reports.hold_memory", (MEGABYTES,), {"megabytes": MEGABYTES, "crc": crc_of_memory()})


@cache
def crc_of_memory() -> int:
    """CRC-32 of MEGABYTES MiB of the bytes 0 to 255, over and over."""
    crc = 0
    for _ in range(MEGABYTES * 2**20 // 256):
        crc = zlib.crc32(bytes(range(256)), crc)
    return crc
