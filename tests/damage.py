"""Damaging artifacts on purpose."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

_LOCAL_HEADER_SIZE = 30


def member_span(path: Path, member: str) -> tuple[int, int]:
    """Where a member's data begins in the file, and its length there."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    lengths = path.read_bytes()[info.header_offset + 26 :][:4]
    return (
        info.header_offset + _LOCAL_HEADER_SIZE + sum(struct.unpack("<HH", lengths)),
        info.compress_size,
    )


def flip_a_bit(path: Path, member: str, damaged: Path) -> Path:
    """Writes an artifact with one bit of a member changed, in the middle of its data."""
    data = bytearray(path.read_bytes())
    begin, length = member_span(path, member)
    data[begin + length // 2] ^= 1
    damaged.write_bytes(data)
    return damaged
