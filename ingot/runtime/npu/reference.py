"""Executor ``reference``: a region's TOSA graph in Arm's TOSA reference model.

The reference model is what defines TOSA's integer arithmetic, so its result is the result.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator, Sequence

import tosa_reference_model

from ingot.errors import IngotError, first_line
from ingot.runtime.npu.executor import Array, RegionExecutor

_STANDARD_OUTPUT = 1
_output_lock = threading.Lock()


class ReferenceExecutor(RegionExecutor):
    """Runs the graph that the command stream was compiled from, in process, on one thread."""

    def execute(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the graph on the inputs.

        Raises:
            IngotError: The reference model finds the graph or its execution invalid.
        """
        try:
            with _without_output():
                outputs, status = tosa_reference_model.run(self.region.graph, list(inputs))
        except ValueError as error:
            raise IngotError(
                f"the TOSA reference model cannot run NPU region {self.region.name}: "
                f"{first_line(error)}"
            ) from error
        if status != tosa_reference_model.GraphStatus.TOSA_VALID:
            raise IngotError(
                f"the TOSA reference model finds NPU region {self.region.name} "
                f"{str(status).rpartition('.')[2]}: its arithmetic leaves what TOSA defines"
            )
        return list(outputs)


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Drops what native code writes to standard output.

    The reference model writes there, at each run, that the graph is of an older version than its
    own, and has no switch for it; a command's output would no longer be what its reader expects.
    """
    libc = ctypes.CDLL(None)
    with _output_lock:
        sys.stdout.flush()
        libc.fflush(None)
        kept = os.dup(_STANDARD_OUTPUT)
        try:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is what is needed
                os.dup2(nowhere.fileno(), _STANDARD_OUTPUT)
            yield
            libc.fflush(None)
        finally:
            os.dup2(kept, _STANDARD_OUTPUT)
            os.close(kept)
