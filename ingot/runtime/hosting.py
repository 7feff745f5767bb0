"""The regions of an artifact: what runs each, and the functions by which compiled code calls them.

A region is a part of the graph that something other than the artifact's own code runs. Compiled
code calls it by name. A value that code cannot hold (a string, a sequence, a tensor of unknown
rank) does not pass through it: it goes from the caller to the region, or the other way, by way of
the session.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ingot.errors import ArtifactError, IngotError
from ingot.runtime.alignment import aligned
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.interface import MARK
from ingot.runtime.manifest import NPU_PREFIX, REGION_PREFIX, RegionInfo
from ingot.runtime.narrow_types import from_code, to_code

# Module and function of each kind; imported when asked for, because each needs other packages.
_MAKERS = {
    "npu": ("ingot.runtime.npu.executor", "make_executors"),
    "onnxruntime": ("ingot.runtime.onnxruntime.executor", "make_executors"),
}

Array = npt.NDArray[Any]


class Executor(Protocol):
    """Runs one region, one inference at a time."""

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the region once.

        Args:
            inputs: A value for each of the region's inputs.

        Returns:
            A value for each of its outputs.

        Raises:
            IngotError: It cannot run on these inputs.
        """


class HostedRegions:
    """The regions of a session.

    Args:
        regions: What the manifest says of them, by name.
        executors: What runs them, by name.

    Attributes:
        error: What a region's execution raised last: compiled code passes on only its text.
    """

    def __init__(
        self, regions: Mapping[str, RegionInfo], executors: Mapping[str, Executor]
    ) -> None:
        self._regions = regions
        self._executors = executors
        self._given: dict[str, Any] = {}
        self._made: dict[str, Any] = {}
        self.error: Exception | None = None

    def begin(self, given: Mapping[str, Any]) -> None:
        """Begins an inference.

        Args:
            given: The inputs of the model that compiled code cannot hold, by name.
        """
        self.error = None
        self._given = dict(given)
        self._made = {}

    def end(self) -> dict[str, Any]:
        """Ends an inference; returns what compiled code cannot hold of the outputs, by name."""
        made, self._made, self._given = self._made, {}, {}
        return made

    def run_alone(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the one region that is the whole model."""
        (executor,) = self._executors.values()
        return executor.run(inputs)

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Returns the functions that compiled code calls, by name."""
        return {
            (NPU_PREFIX if region.executor == "npu" else REGION_PREFIX) + name: (
                self._filling(name) if region.executor == "npu" else self._returning(name)
            )
            for name, region in self._regions.items()
        }

    def _run(self, name: str, inputs: Sequence[Any]) -> list[Any]:
        try:
            return self._executors[name].run(inputs)
        except Exception as error:
            self.error = error
            raise

    def _returning(self, name: str) -> Callable[..., Any]:
        region = self._regions[name]

        def call(*tensors: Any) -> Any:
            passed = iter(tensors)
            inputs = [
                from_code(next(passed), spec.dtype) if spec.in_code else self._given[spec.name]
                for spec in region.inputs
            ]
            results = self._run(name, inputs)
            held = []
            for spec, result in zip(region.outputs, results, strict=True):
                if spec.in_code:
                    held.append(to_code(aligned(result)))
                else:
                    self._made[spec.name] = result
            if not held:
                dtype, shape = MARK
                return to_code(aligned(np.zeros(shape, dtype)))
            return held[0] if len(held) == 1 else held

        return call

    def _filling(self, name: str) -> Callable[..., None]:
        count = len(self._regions[name].inputs)

        def call(*tensors: Any) -> None:
            arrays = [np.from_dlpack(tensor) for tensor in tensors]
            results = self._run(name, arrays[:count])
            for destination, result in zip(arrays[count:], results, strict=True):
                if (result.dtype, result.shape) != (destination.dtype, destination.shape):
                    self.error = ArtifactError(
                        f"region {name} makes {result.dtype.name}{list(result.shape)} where the "
                        f"artifact's code takes {destination.dtype.name}{list(destination.shape)}: "
                        "compile it again"
                    )
                    raise self.error
                # NumPy takes memory over DLPack as read-only; this memory was given to be written.
                source = np.ascontiguousarray(result)
                ctypes.memmove(destination.ctypes.data, source.ctypes.data, source.nbytes)

        return call


def host_regions(
    reader: ArtifactReader, weights: Mapping[str, Array], threads: int, npu_executor: str | None
) -> HostedRegions:
    """Makes what runs the regions of an artifact.

    Args:
        reader: The artifact.
        weights: Its weights by name.
        threads: How many threads an executor may use.
        npu_executor: The kind of executor for NPU regions; the default if not given.

    Raises:
        ArtifactError: A region is damaged, or of a kind that this Ingot does not know.
        UsageError: No such kind of executor.
        IngotError: What an executor needs is not installed; says how to install it.
    """
    regions = reader.manifest.regions
    executors: dict[str, Executor] = {}
    for kind in sorted({region.executor for region in regions.values()}):
        if kind not in _MAKERS:
            raise ArtifactError(
                f"{reader.path} has a region for executor {kind!r}, which this Ingot does not "
                f"know; it knows {', '.join(_MAKERS)}: install the Ingot that made it"
            )
        module, function = _MAKERS[kind]
        try:
            make = getattr(importlib.import_module(module), function)
        except ModuleNotFoundError as error:
            extra = "fallback" if kind == "onnxruntime" else kind
            raise IngotError(
                f"{reader.path} has parts that {kind} runs, which needs {error.name}: install it "
                f"with `pip install 'ingot[{extra}]'`"
            ) from error
        own = {name: region for name, region in regions.items() if region.executor == kind}
        executors.update(make(own, reader, weights, threads, npu_executor))
    return HostedRegions(regions, executors)
