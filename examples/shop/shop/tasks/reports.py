"""Batch: a task that needs a core, and a task that needs memory."""

import mmap
import os
import zlib
from itertools import takewhile
from math import isqrt
from pathlib import Path
from typing import Any

from shop.app import TimedTask, app

MIB = 2**20


@app.task(base=TimedTask)  # type: ignore[untyped-decorator]
def count_primes(limit: int) -> dict[str, Any]:
    """How many primes there are up to `limit`, by trial division in plain Python: 50 to 100 ms at 80,000."""
    primes: list[int] = []
    for number in range(2, limit + 1):
        if all(number % prime for prime in takewhile(isqrt(number).__ge__, primes)):
            primes.append(number)
    return {"limit": limit, "primes": len(primes)}


@app.task(base=TimedTask)  # type: ignore[untyped-decorator]
def hold_memory(megabytes: int) -> dict[str, Any]:
    """Take `megabytes` MiB, write and read all of it, give it back.

    Answers with the CRC-32 of the bytes read, and the resident MiB of the process before, while and after (of all its tasks
    together, if a pool runs several in one process).
    """
    before = resident_mib()
    page = bytes(range(256)) * (MIB // 256)
    # A mapping, not a bytearray: malloc may keep freed memory for the process.
    with mmap.mmap(-1, megabytes * MIB) as block:
        for _ in range(megabytes):
            block.write(page)
        with memoryview(block) as view:
            crc = zlib.crc32(view)
        held = resident_mib()
    return {"megabytes": megabytes, "crc": crc, "resident_mib": [before, held, resident_mib()]}


def resident_mib() -> int:
    """This process's memory in RAM, in MiB; /proc counts it in pages."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // MIB
