"""The members of a zip archive: where each lies in a file, every number of the archive checked.

A reader of its own, because what it has to do is small and strict: archives as Ingot, ``zip`` and
Python write them, neither encrypted nor split, with nothing before, between or behind that two
readers could understand differently (PKWARE, "APPNOTE.TXT", version 6.3.10, section 4.3).
"""

from __future__ import annotations

import dataclasses
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

# Returns bytes of the file from an offset; fewer than asked for only at its end.
Read = Callable[[int, int], bytes]

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_LOCAL_SIGN, _CENTRAL_SIGN = b"PK\3\4", b"PK\1\2"
_END_SIGN, _END64_SIGN, _LOCATOR64_SIGN = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_FULL_32 = 0xFFFFFFFF
_ZIP64_FIELD = 1
_FIELD = struct.Struct("<HH")
_STORED, _DEFLATED = 0, 8
# Encrypted (bits 0, 6 and 13) and patched (bit 5) data.
_UNREADABLE_FLAGS = 0x2061
_UTF8_FLAG = 0x800
# More than any artifact has: a directory is read as a whole.
_LARGEST_DIRECTORY = 32 << 20
# Deflate makes at most 1,032 bytes of one; code and models come nowhere near a fifth of that.
_LARGEST_RATIO = 200
_ANY_RATIO_UP_TO = 64 << 20
_CHUNK = 1 << 20


class DamagedArchiveError(ValueError):
    """The file is no archive, or not one that can be read; says why."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a member lies in the file.

    Attributes:
        name: Its name.
        offset: Where its data begins, in bytes.
        length: Bytes of it in the file.
        size: Bytes of the member.
        deflated: Whether the data is a raw deflate stream (RFC 1951), else the member itself.
        crc: CRC-32 of the member.
    """

    name: str
    offset: int
    length: int
    size: int
    deflated: bool
    crc: int

    def read_checked(self, read: Read) -> bytes:
        """Returns the member, held against its CRC-32.

        Raises:
            DamagedArchiveError: It is damaged.
        """
        data = b"".join(self.chunks(read))
        if zlib.crc32(data) != self.crc:
            raise DamagedArchiveError(f"member {self.name} does not have its checksum")
        return data

    def chunks(self, read: Read) -> Iterator[bytes]:
        """Yields the member's bytes in parts; never more than its size.

        Raises:
            DamagedArchiveError: The data is damaged, or makes another number of bytes.
        """
        position, left = self.offset, self.size
        end = self.offset + self.length
        stream = zlib.decompressobj(-zlib.MAX_WBITS) if self.deflated else None
        while position < end:
            data = read(position, min(_CHUNK, end - position))
            if not data:
                break
            position += len(data)
            for part in (data,) if stream is None else _inflated(stream, data, left, self.name):
                left -= len(part)
                if left < 0:
                    raise DamagedArchiveError(f"member {self.name} is longer than it says")
                yield part
        whole = stream is None or (stream.eof and not stream.unused_data)
        if left or position != end or not whole:
            raise DamagedArchiveError(f"member {self.name} is cut short")


def _inflated(stream: zlib._Decompress, data: bytes, left: int, name: str) -> Iterator[bytes]:
    """Yields what a part of a deflate stream makes, in bounded parts."""
    while left >= 0:
        most = min(_CHUNK, left + 1)
        try:
            part = stream.decompress(data, most)
        except zlib.error as error:
            raise DamagedArchiveError(f"member {name} cannot be inflated: {error}") from error
        left -= len(part)
        yield part
        # Some may be left that is made of no further data.
        data = stream.unconsumed_tail
        if len(part) < most:
            return


def read_entries(read: Read, size: int) -> dict[str, Entry]:
    """Returns the members of an archive by name.

    Args:
        read: Reads from the file.
        size: The file's size in bytes.

    Raises:
        DamagedArchiveError: The file is no archive, or is damaged; says where.
    """
    count, begin, end = _directory(read, size)
    directory = read(begin, end - begin)
    entries: dict[str, Entry] = {}
    spans = []
    position = 0
    for _ in range(count):
        header, name, fields, position = _central_header(directory, position)
        entry, header_offset = _entry(header, name, fields)
        if name in entries:
            raise DamagedArchiveError(f"member {name} is there twice")
        offset = _data_offset(read, header_offset, entry, begin)
        entries[name] = dataclasses.replace(entry, offset=offset)
        spans.append((header_offset, offset + entry.length, name))
    if position != len(directory):
        raise DamagedArchiveError("its directory holds more than it says")
    spans.sort()
    for (_, previous_end, _), (next_begin, _, name) in itertools.pairwise(spans):
        if next_begin < previous_end:
            raise DamagedArchiveError(f"member {name} lies within another one")
    return entries


def _directory(read: Read, size: int) -> tuple[int, int, int]:
    """Returns the number of members, and where the directory begins and ends."""
    if size < _END.size:
        raise DamagedArchiveError("it is too short to be one")
    end = size - _END.size
    sign, disk, first_disk, here, count, length, begin, comment = _numbers(_END, read, end)
    if sign != _END_SIGN or comment:
        raise DamagedArchiveError("it does not end as an archive does")
    locator = end - _LOCATOR64.size
    if locator >= _END64.size and read(locator, 4) == _LOCATOR64_SIGN:
        end, here, count, length, begin = _directory64(read, locator)
    if disk or first_disk or here != count:
        raise DamagedArchiveError("it is one part of several")
    if length > _LARGEST_DIRECTORY or count * _CENTRAL.size > length:
        raise DamagedArchiveError(f"its directory states {count} members in {length} bytes")
    if begin + length != end:
        raise DamagedArchiveError("its directory is not where it should be")
    return count, begin, end


def _directory64(read: Read, locator: int) -> tuple[int, int, int, int, int]:
    """Reads the record for large archives, which stands before the ordinary one."""
    _, disk, begin, disks = _numbers(_LOCATOR64, read, locator)
    if disk or disks > 1 or begin != locator - _END64.size:
        raise DamagedArchiveError("its end is damaged")
    sign, _, _, _, disk, first, here, count, length, offset = _numbers(_END64, read, begin)
    if sign != _END64_SIGN or disk or first:
        raise DamagedArchiveError("its end is damaged")
    return begin, here, count, length, offset


def _central_header(directory: bytes, position: int) -> tuple[tuple[int, ...], str, bytes, int]:
    """Returns a directory entry's numbers, name and extra fields, and where the next one begins."""
    if position + _CENTRAL.size > len(directory):
        raise DamagedArchiveError("its directory is cut short")
    sign, *header = _CENTRAL.unpack_from(directory, position)
    name_length, extra_length, comment_length = header[9:12]
    begin = position + _CENTRAL.size
    end = begin + name_length + extra_length + comment_length
    if sign != _CENTRAL_SIGN or end > len(directory):
        raise DamagedArchiveError("its directory is damaged")
    encoded = directory[begin : begin + name_length]
    try:
        name = encoded.decode("utf-8" if header[2] & _UTF8_FLAG else "ascii")
    except UnicodeDecodeError:
        name = ""
    if not name or not name.isprintable():
        raise DamagedArchiveError(f"the member name {encoded[:80]!a} is no name")
    fields = directory[begin + name_length : begin + name_length + extra_length]
    return tuple(header), name, fields, end


def _entry(header: tuple[int, ...], name: str, fields: bytes) -> tuple[Entry, int]:
    """Returns a member, its data's offset still open, and the offset of its local header."""
    flags, method, crc, length, size = header[2], header[3], *header[6:9]
    disk, offset = header[12], header[15]
    if flags & _UNREADABLE_FLAGS or method not in (_STORED, _DEFLATED):
        raise DamagedArchiveError(f"member {name} is encrypted or compressed by an unknown method")
    wide = _wide_numbers(fields, [size, length, offset], name)
    size, length, offset = wide
    if disk:
        raise DamagedArchiveError("it is one part of several")
    deflated = method == _DEFLATED
    if not deflated and length != size:
        raise DamagedArchiveError(f"member {name} is stored in another size than its own")
    if deflated and size > max(_ANY_RATIO_UP_TO, _LARGEST_RATIO * length):
        raise DamagedArchiveError(f"member {name} claims {size} bytes, compressed to {length}")
    return Entry(name, 0, length, size, deflated, crc), offset


def _wide_numbers(fields: bytes, numbers: list[int], name: str) -> list[int]:
    """Returns sizes and offset, those that do not fit into 32 bits from the field for them."""
    if _FULL_32 not in numbers:
        return numbers
    position = 0
    while position + _FIELD.size <= len(fields):
        kind, length = _FIELD.unpack_from(fields, position)
        position += _FIELD.size
        if kind == _ZIP64_FIELD:
            wanted = sum(number == _FULL_32 for number in numbers)
            if length >= 8 * wanted and position + length <= len(fields):
                wide = iter(struct.unpack_from(f"<{wanted}Q", fields, position))
                return [next(wide) if n == _FULL_32 else n for n in numbers]
        position += length
    raise DamagedArchiveError(f"member {name} has no sizes")


def _data_offset(read: Read, header_offset: int, entry: Entry, limit: int) -> int:
    """Returns where a member's data begins; it has to end before ``limit``, the directory."""
    if header_offset + _LOCAL.size > limit:
        raise DamagedArchiveError(f"member {entry.name} lies outside of the file")
    sign, _, _, method, *_, name_length, extra_length = _numbers(_LOCAL, read, header_offset)
    begin: int = header_offset + _LOCAL.size
    named = read(begin, name_length) == entry.name.encode()
    if sign != _LOCAL_SIGN or not named or method != (_DEFLATED if entry.deflated else _STORED):
        raise DamagedArchiveError(f"member {entry.name} is not where the directory says")
    offset: int = begin + name_length + extra_length
    if offset + entry.length > limit:
        raise DamagedArchiveError(f"member {entry.name} lies outside of the file")
    return offset


def _numbers(layout: struct.Struct, read: Read, offset: int) -> tuple[Any, ...]:
    data = read(offset, layout.size)
    if len(data) != layout.size:
        raise DamagedArchiveError("it is cut short")
    return layout.unpack(data)
