"""The fingerprint of an OpenPGP key (RFC 4880, 12.2): enough to check that a file holds the expected key."""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha1
from pathlib import Path


def fingerprint(data: bytes) -> str:
    """The fingerprint of the primary key in a file's data, armored or not: 40 hexadecimal digits.

    Raises ValueError if the data holds no version 4 key.
    """
    packet = _first_packet(_dearmored(data))
    if packet[:1] != b"\x04":
        raise ValueError("no OpenPGP key of version 4")
    # The format demands SHA-1. The user compares the fingerprint with a published one, and it is not the only defence.
    return sha1(b"\x99" + len(packet).to_bytes(2, "big") + packet, usedforsecurity=False).hexdigest().upper()


def mistake(file: str, expected: str) -> tuple[str, str] | None:
    """(the setting: `key` or `fingerprint`, what is wrong) if a file does not hold the expected key; None if it does.

    expected: the key's fingerprint.
    """
    try:
        actual = fingerprint(Path(file).read_bytes())
    except (OSError, ValueError) as error:
        return "key", f"{file}: {error}"
    return None if actual == expected else ("fingerprint", f"{expected}, and {file} has {actual}")


def _dearmored(data: bytes) -> bytes:
    if not data.lstrip().startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----"):
        return data
    # Header lines, an empty line, the body, and perhaps a checksum.
    match = re.search(rb"KEY BLOCK-----[^\n]*\n(?:\S[^\n]*\n)*\s*\n([A-Za-z0-9+/\s]+=*)", data)
    try:
        return base64.b64decode(b"".join(match[1].split()), validate=True) if match else b""
    except binascii.Error:
        raise ValueError("the key's armor is damaged") from None


def _first_packet(data: bytes) -> bytes:
    """The body of the first packet. Raises ValueError if it is not a public key."""
    if len(data) < 6 or not data[0] & 0x80:
        raise ValueError("no OpenPGP data")
    if data[0] & 0x40:  # new format
        tag, start = data[0] & 0x3F, 2
        length = data[1]
        if length == 255:
            length, start = int.from_bytes(data[2:6], "big"), 6
        elif length >= 192:
            length, start = ((length - 192) << 8) + data[2] + 192, 3
    else:
        tag, size = (data[0] >> 2) & 0x0F, 1 << (data[0] & 3)
        start = 1 + size
        length = int.from_bytes(data[1:start], "big")
    if tag != 6:
        raise ValueError("no OpenPGP public key")
    body = data[start : start + length]
    if len(body) != length:
        raise ValueError("the key is cut short")
    return body
