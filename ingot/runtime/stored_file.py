"""A regular file that is opened once, and read and mapped from there."""

from __future__ import annotations

import os
import stat
import weakref
from pathlib import Path

from ingot.runtime.leases import FixedMapping, map_fixed

# Below it, a copy costs less than a mapping and what guards it.
_SMALLEST_SHARED = 1 << 20


class StoredFile:
    """A regular file opened for reading.

    All reads go to the file that was opened, also when its name stands for another one later.

    Attributes:
        size: Its size in bytes when it was opened.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file.

        Raises:
            OSError: It cannot be opened, or is not a regular file.
        """
        # Opening a FIFO would wait for one who writes to it.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.close = weakref.finalize(self, os.close, self._descriptor)
        state = os.fstat(self._descriptor)
        if not stat.S_ISREG(state.st_mode):
            self.close()
            raise OSError(0, "it is not a regular file")
        self.size = state.st_size

    def read(self, offset: int, length: int) -> bytes:
        """Returns bytes from an offset on; fewer only where the file ends.

        Raises:
            OSError: The system cannot read it.
        """
        parts = []
        while length > 0 and (part := os.pread(self._descriptor, length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def map(self, offset: int, length: int) -> tuple[FixedMapping, memoryview] | None:
        """Maps a part of the file whose contents then stay as they are, whatever is done to it.

        Returns:
            The mapping and the part's bytes; None where it is better copied.

        Raises:
            MemoryError: The address space has no room for it.
        """
        if length < _SMALLEST_SHARED:
            return None
        return map_fixed(self._descriptor, offset, length)
