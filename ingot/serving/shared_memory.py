"""Tensors in memory that clients on the same machine share: the protocol's extension for it.

Regions are read and written by system calls and not mapped: a client that shortens its region while
it is in use would end a process that has it mapped.
"""

from __future__ import annotations

import dataclasses
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingot.errors import first_line
from ingot.serving.protocol.parameters import whole_number
from ingot.serving.requests import Cause, RefusedError

_FOLDER = Path("/dev/shm")
# POSIX: a slash and a name without one.
_KEY = re.compile(r"/?[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_MOST_REGIONS = 1024


@dataclasses.dataclass(frozen=True)
class Region:
    """A registered region.

    Attributes:
        name: What clients call it.
        key: The shared memory object's name.
        offset: Where it begins within the object, in bytes.
        size: Its size, in bytes.
    """

    name: str
    key: str
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class Piece:
    """A tensor's place in a region: bytes from ``offset``."""

    region: str
    offset: int
    size: int

    @staticmethod
    def of(parameters: Mapping[str, Any]) -> Piece | None:
        """Returns the place that parameters of a tensor say; None where they say none.

        Raises:
            RefusedError: They are wrong.
        """
        region = parameters.get("shared_memory_region")
        if region is None:
            return None
        size = whole_number(parameters.get("shared_memory_byte_size"), "shared_memory_byte_size")
        offset = whole_number(parameters.get("shared_memory_offset", 0), "shared_memory_offset")
        return Piece(str(region), offset, size)


class SharedMemory:
    """The regions that clients registered. May be used from several threads."""

    def __init__(self, *, allowed: bool) -> None:
        """Has no regions yet.

        Args:
            allowed: Whether clients may register any.
        """
        self._allowed = allowed
        self._lock = threading.Lock()
        self._regions: dict[str, tuple[Region, int]] = {}

    def register(self, region: Region) -> None:
        """Opens a region.

        Raises:
            RefusedError: It is not there, too small, known already, or none are allowed.
        """
        if not self._allowed:
            raise _invalid("this server was started without --shared-memory")
        if not region.name or not _KEY.fullmatch(region.key):
            raise _invalid(f"'{region.key[:80]}' is no name of shared memory")
        path = _FOLDER / region.key.lstrip("/")
        try:
            # Neither a link, which may lead anywhere, nor what waits for its other end.
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _invalid(
                f"cannot open shared memory '{region.key}': {first_line(error)}"
            ) from None
        with self._lock:
            problem = None
            if os.fstat(file).st_size < region.offset + region.size:
                problem = f"shared memory '{region.key}' ends before the region does"
            elif region.name in self._regions:
                problem = f"region '{region.name}' is registered already"
            elif len(self._regions) >= _MOST_REGIONS:
                problem = f"{_MOST_REGIONS} regions are registered, no more may"
            if problem is not None:
                os.close(file)
                raise _invalid(problem)
            self._regions[region.name] = region, file

    def unregister(self, name: str = "") -> None:
        """Closes a region; all of them without a name. One that is not known is no error."""
        with self._lock:
            for each in [name] if name else list(self._regions):
                if each in self._regions:
                    os.close(self._regions.pop(each)[1])

    def regions(self, name: str = "") -> list[Region]:
        """The registered regions, or the one of a name.

        Raises:
            RefusedError: There is none of that name.
        """
        with self._lock:
            if name and name not in self._regions:
                raise RefusedError(Cause.NOT_FOUND, f"there is no region '{name[:80]}'")
            return [region for region, _ in self._regions.values() if name in ("", region.name)]

    def read(self, piece: Piece) -> bytes:
        """Returns the bytes at a place.

        Raises:
            RefusedError: It is not within its region.
        """
        with self._lock:
            region, file = self._found(piece)
            read = os.pread(file, piece.size, region.offset + piece.offset)
        if len(read) != piece.size:
            raise _invalid(f"region '{piece.region}' was shortened")
        return read

    def write(self, piece: Piece, content: bytes | memoryview) -> None:
        """Writes an output to a place.

        Raises:
            RefusedError: It is not within its region, or too small.
        """
        if len(content) > piece.size:
            raise _invalid(
                f"an output takes {len(content)} bytes of region '{piece.region}', "
                f"and {piece.size} were given"
            )
        with self._lock:
            region, file = self._found(piece)
            if os.fstat(file).st_size < region.offset + piece.offset + len(content):
                raise _invalid(f"region '{piece.region}' was shortened")
            os.pwrite(file, content, region.offset + piece.offset)

    def _found(self, piece: Piece) -> tuple[Region, int]:
        if piece.region not in self._regions:
            raise _invalid(f"there is no region '{piece.region[:80]}'")
        region, file = self._regions[piece.region]
        if piece.offset + piece.size > region.size:
            raise _invalid(f"the tensor is not within region '{piece.region}'")
        return region, file


def _invalid(said: str) -> RefusedError:
    return RefusedError(Cause.INVALID, said)
