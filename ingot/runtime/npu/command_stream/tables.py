"""Lookup tables: the last bytes of the NPU's shared buffer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream.accelerator import LUT_BYTES, Accelerator
from ingot.runtime.npu.command_stream.decode import CommandError
from ingot.runtime.npu.command_stream.hazards import TABLES, Access

# Tables are numbered in steps of this many bytes.
_STEP = 256
# Bytes of a table by the bytes of the result's elements.
_SIZES = {1: 256, 2: 2048, 4: 1024}


class LookupTables:
    """Eight tables of 256 bytes, or fewer larger ones, with what is known of their contents."""

    def __init__(self, accelerator: Accelerator) -> None:
        """Starts with no table loaded."""
        self._start = accelerator.buffer_bytes - LUT_BYTES
        self._reserved = accelerator.reserves_tables
        self._bytes = np.zeros(LUT_BYTES, np.uint8)
        self._loaded = np.zeros(LUT_BYTES, np.bool_)

    def load(self, address: int, data: npt.NDArray[np.uint8]) -> Access:
        """Copies bytes to an address of the shared buffer.

        Raises:
            CommandError: They are not within the tables.
        """
        low = address - self._start
        high = low + data.size
        if low < 0 or high > LUT_BYTES:
            raise CommandError(
                f"a copy to bytes {address} to {address + data.size} of the shared buffer is not "
                "within the lookup tables"
            )
        self._bytes[low:high] = data
        self._loaded[low:high] = True
        return Access(TABLES, low, high, writes=True)

    def read(self, index: int, dtype: np.dtype[Any]) -> tuple[npt.NDArray[np.uint8], Access]:
        """Returns the bytes of a table.

        Args:
            index: Its number.
            dtype: The result's, which says how large it is.

        Raises:
            CommandError: It has not been loaded.
        """
        low = _STEP * index
        high = low + _SIZES[dtype.itemsize]
        if high > LUT_BYTES or not self._loaded[low:high].all():
            raise CommandError(f"its lookup table {index} has not been loaded")
        return self._bytes[low:high], Access(TABLES, low, high, writes=False)

    def overwrite(self) -> list[Access]:
        """An operation without a table: its accumulators take bytes that are not reserved."""
        if self._reserved:
            return []
        self._loaded[:] = False
        return [Access(TABLES, 0, LUT_BYTES, writes=True)]
