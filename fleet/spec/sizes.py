"""Sizes as people write them: `512M`, `2G`, `40%`."""

import re
from typing import Annotated

from pydantic import BeforeValidator

from fleet.spec.fields import ShownType

_LEAST = 1 << 20  # bytes: a smaller number was probably meant in megabytes
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+)([KMGT]?)B?", re.IGNORECASE)
_SHARE = re.compile(r"(\d{1,3})%")


def parse_size(value: object) -> int:
    """Bytes from an int, or from digits with K, M, G or T (powers of 1024). Raises ValueError with what to write."""
    match = _SIZE.fullmatch(str(value).strip()) if isinstance(value, int | str) and not isinstance(value, bool) else None
    size = int(match[1]) * _FACTORS[match[2].upper()] if match else 0
    if size < _LEAST:
        raise ValueError('write a size such as "512M" or "2G"' + (" (a bare number is bytes)" if size else ""))
    return size


def parse_size_or_share(value: object) -> int | str:
    """Bytes as parse_size returns them, or a share of the machine's memory from "1%" to "95%", as written. Raises ValueError."""
    match = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        try:
            return parse_size(value)
        except ValueError:
            raise ValueError('write a size such as "512M", or a share of the machine\'s memory such as "40%"') from None
    if not 1 <= int(match[1]) <= 95:
        raise ValueError('a share of the machine\'s memory is from "1%" to "95%"')
    return match[0]


def resolve(size: int | str, total: int) -> int:
    """Bytes: `size` itself, or a share such as "40%" of `total` bytes."""
    return size if isinstance(size, int) else total * int(size.rstrip("%")) // 100


Size = Annotated[int, BeforeValidator(parse_size), ShownType("size")]
SizeOrShare = Annotated[int | str, BeforeValidator(parse_size_or_share), ShownType("size or share")]
