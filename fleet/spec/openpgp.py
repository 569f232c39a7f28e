"""The fingerprint of an OpenPGP key, as far as it takes to know that a file holds the key that was meant (RFC 4880, 12.2)."""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha1
from pathlib import Path


def fingerprint(data: bytes) -> str:
    """Of the primary key in a file, armored or not: 40 hexadecimal digits. Raises ValueError for what is no version 4 key."""
    packet = _first_packet(_dearmored(data))
    if packet[:1] != b"\x04":
        raise ValueError("no OpenPGP key of version 4")
    # SHA-1 is what the format says; the file is compared with what somebody wrote down, and not the only defence.
    return sha1(b"\x99" + len(packet).to_bytes(2, "big") + packet, usedforsecurity=False).hexdigest().upper()


def mistake(file: str, wanted: str) -> tuple[str, str] | None:
    """(`key` or `fingerprint`, what is wrong) where a file does not hold the key that is wanted; None where it does."""
    try:
        found = fingerprint(Path(file).read_bytes())
    except (OSError, ValueError) as error:
        return "key", f"{file}: {error}"
    return None if found == wanted else ("fingerprint", f"{wanted}, and {file} has {found}")


def _dearmored(data: bytes) -> bytes:
    if not data.lstrip().startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----"):
        return data
    # Header lines, an empty one, the body, and perhaps a checksum.
    match = re.search(rb"KEY BLOCK-----[^\n]*\n(?:\S[^\n]*\n)*\s*\n([A-Za-z0-9+/\s]+=*)", data)
    try:
        return base64.b64decode(b"".join(match[1].split()), validate=True) if match else b""
    except binascii.Error:
        raise ValueError("the key's armor is damaged") from None


def _first_packet(data: bytes) -> bytes:
    """The body of the first packet, which has to be a public key's."""
    if len(data) < 6 or not data[0] & 0x80:
        raise ValueError("no OpenPGP data")
    if data[0] & 0x40:  # new format
        tag, at = data[0] & 0x3F, 2
        length = data[1]
        if length == 255:
            length, at = int.from_bytes(data[2:6], "big"), 6
        elif length >= 192:
            length, at = ((length - 192) << 8) + data[2] + 192, 3
    else:
        tag, size = (data[0] >> 2) & 0x0F, 1 << (data[0] & 3)
        at = 1 + size
        length = int.from_bytes(data[1:at], "big")
    if tag != 6:
        raise ValueError("no OpenPGP public key")
    body = data[at : at + length]
    if len(body) != length:
        raise ValueError("the key is cut short")
    return body
