"""The functions by which host code runs the NPU regions of an artifact."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ingot.runtime.npu.executor import RegionExecutor, make_executor
from ingot.runtime.npu.region import Region

# What host code calls a region by: this and its name.
FUNCTION_PREFIX = "ingot.npu."


@dataclasses.dataclass
class HostedRegions:
    """The regions of a session.

    Attributes:
        executors: Executors by the region's name.
        error: What a region's execution raised last: host code passes on only its text.
    """

    executors: dict[str, RegionExecutor]
    error: Exception | None = None

    def functions(self) -> dict[str, Callable[..., None]]:
        """Returns functions by the names that host code calls: inputs, then outputs to fill."""
        return {
            FUNCTION_PREFIX + name: self._function(executor)
            for name, executor in self.executors.items()
        }

    def _function(self, executor: RegionExecutor) -> Callable[..., None]:
        count = len(executor.region.inputs)

        def call(*tensors: Any) -> None:
            arrays = [np.from_dlpack(tensor) for tensor in tensors]
            try:
                results = executor.run(arrays[:count])
            except Exception as error:
                self.error = error
                raise
            for destination, result in zip(arrays[count:], results, strict=True):
                # NumPy takes memory over DLPack as read-only; this memory was given to be written.
                source = np.ascontiguousarray(result)
                ctypes.memmove(destination.ctypes.data, source.ctypes.data, source.nbytes)

        return call


def host_regions(
    names: Sequence[str], member: Callable[[str], memoryview], executor: str
) -> HostedRegions:
    """Reads regions of an artifact and makes their executors.

    Args:
        names: The regions.
        member: Returns a member's bytes.
        executor: The kind of executor.

    Raises:
        ArtifactError: A region is damaged.
        UsageError: No such kind of executor.
        IngotError: What the executor needs is not installed.
    """
    return HostedRegions(
        {name: make_executor(executor, Region.read(name, member)) for name in names}
    )
