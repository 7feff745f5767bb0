"""Buffers that are bound once, for inferences that allocate and copy nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import InputError
from ingot.runtime.alignment import CALLERS_ALIGNMENT, address_of, aligned_empty
from ingot.runtime.binding import check_arrays
from ingot.runtime.conversion import as_array
from ingot.runtime.execution import Execution
from ingot.runtime.manifest import TensorSpec
from ingot.runtime.narrow_types import HELD_AS, named_dtype, to_code
from ingot.runtime.profiling import recording
from ingot.runtime.profiling.inferences import (
    ModelFacts,
    record_failure,
    record_inference,
    record_kernels,
    recording_inferences,
)
from ingot.runtime.profiling.recording import ProfilingSession
from ingot.runtime.recorder import Recorder, recorded

Array = npt.NDArray[Any]


class BoundRun:
    """An inference on fixed buffers; used by one thread at a time.

    Fill ``inputs``, call ``run``, read ``outputs``: any number of times. The arrays also speak
    DLPack, so that other libraries read and write them where they are.

    Attributes:
        inputs: The arrays that inputs are read from, by name.
        outputs: The arrays that outputs are written to, by name.
    """

    def __init__(
        self,
        execution: Execution,
        require_intact: Callable[[], None],
        inputs: dict[str, Array],
        outputs: dict[str, Array],
        facts: ModelFacts,
        recorder: Recorder,
    ) -> None:
        self._recorder = recorder
        self.inputs = inputs
        self.outputs = outputs
        self._execution = execution
        self._facts = facts
        self._require_intact = require_intact
        self._run = execution.fixed(
            [to_code(array) for array in inputs.values()],
            [to_code(array) for array in outputs.values()],
        )

    @property
    def arena_bytes(self) -> int:
        """Bytes of memory for tensors between kernels."""
        return self._execution.mapped

    @recorded
    def run(self) -> None:
        """Runs one inference on the bound buffers.

        Raises:
            InputError: The code refuses what the inputs hold.
            ArtifactError: The artifact was overwritten, and its weights could not be kept.
        """
        if recording.on and (recorder := recording_inferences()) is not None:
            self._run_recorded(recorder)
            return
        self._run()
        self._require_intact()

    def _run_recorded(self, recorder: ProfilingSession) -> None:
        """As ``run``, for a profiling session."""
        start, events = time.perf_counter_ns(), None
        try:
            if recorder.kernels:
                _, events = self._execution.timed(self._run)
            else:
                self._run()
            self._require_intact()
        except BaseException as error:
            record_failure(recorder, self._facts, start, error)
            raise
        ran = time.perf_counter_ns()
        request = record_inference(recorder, self._facts, start, start, start, ran)
        if events is not None:
            record_kernels(recorder, self._facts, events.names, events.rows, request)


def bound_arrays(
    kind: str,
    specs: Sequence[TensorSpec],
    given: Mapping[str, Any],
    symbols: dict[str, int],
    shapes: Sequence[tuple[int, ...] | None] | None = None,
) -> dict[str, Array]:
    """Returns an array for each input or output: those that are given, and new ones.

    Args:
        kind: ``input`` or ``output``.
        specs: What they are.
        given: Arrays by name.
        symbols: What symbolic dimensions are; those of the arrays given are added.
        shapes: The shapes, where they are known beyond that.

    Raises:
        InputError: An array does not fit, cannot be used where it lies, or a size is not known.
    """
    arrays = {name: as_array(f"{kind} {name}", value) for name, value in given.items()}
    check_arrays(kind, specs, arrays, symbols)
    for name, array in arrays.items():
        _require_usable(f"{kind} {name}", array, given[name])
    for at, spec in enumerate(specs):
        if spec.name in arrays:
            continue
        shape = None if shapes is None else shapes[at]
        if shape is None:
            shape = _shape(spec, symbols)
        arrays[spec.name] = aligned_empty(shape, named_dtype(spec.dtype))
        arrays[spec.name][...] = 0
    return {spec.name: arrays[spec.name] for spec in specs}


def _shape(spec: TensorSpec, symbols: Mapping[str, int]) -> tuple[int, ...]:
    for size in spec.shape:
        if isinstance(size, str) and size not in symbols:
            raise InputError(
                f"the size of {size} in {spec} is not known: give an array, or "
                f"sizes={{'{size}': N}}"
            )
    return tuple(size if isinstance(size, int) else symbols[size] for size in spec.shape)


def _require_usable(what: str, array: Array, given: Any) -> None:
    if not (array.flags.c_contiguous and array.flags.writeable):
        raise InputError(f"the array bound to {what} must be C-contiguous and writable")
    if address_of(array) % CALLERS_ALIGNMENT:
        raise InputError(
            f"the array bound to {what} must begin at a multiple of {CALLERS_ALIGNMENT} bytes: "
            "leave it out, and use the one that the binding makes"
        )
    if array.dtype.name in HELD_AS and array.dtype.name.startswith(("int", "uint")):
        raise InputError(f"{what} of {array.dtype.name} cannot be bound: code holds it otherwise")
    if isinstance(given, np.ndarray) and not np.shares_memory(array, given) and array.size:
        raise InputError(f"the array bound to {what} cannot be used where it lies")
