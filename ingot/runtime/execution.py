"""An execution context: what one inference at a time needs of its own.

Contexts of a session share its code and its weights. Each has its tensors and its arena, the memory
that tensors between kernels lie in. Before the first inference of some shapes the program is gone
through without computing: this gives the bytes that the arena takes, and the shapes of outputs.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ingot.errors import IngotError, InputError, MemoryLimitError
from ingot.runtime.alignment import address_of, aligned_empty, aligned_memory, readable_address
from ingot.runtime.code import Code
from ingot.runtime.kernel_events import KernelEvents
from ingot.runtime.narrow_types import held_dtype
from ingot.runtime.native_library import (
    REGION_CALL,
    Figures,
    Settings,
    Status,
    Tensor,
    native_library,
)
from ingot.runtime.program import type_code
from ingot.runtime.tensors import array_of, point_to
from ingot.runtime.threads import Pool

Array = npt.NDArray[Any]
Result = TypeVar("Result")
RegionRun = Callable[[str, Sequence[Array]], "list[Array] | None"]
"""Runs a region by its name as code calls it; None where it wrote to what it was given."""


@dataclasses.dataclass(frozen=True)
class ExecutionOptions:
    """How contexts execute.

    Attributes:
        pool: The threads that share loops.
        threads: How many of them compute one loop at most, the caller included.
        memory_limit: Bytes that the arena may take; None for no limit.
        arena_flags: ``HUGE_PAGES`` and ``GUARDED`` of the native library.
        caller_core: The processor that the calling thread is bound to while it computes, if any.
    """

    pool: Pool
    threads: int
    memory_limit: int | None = None
    arena_flags: int = 0
    caller_core: int | None = None


class Execution:
    """A context. Used by one thread at a time.

    Attributes:
        run_region: What runs regions in the next execution, where the code has any.
        error: What a region raised last.
        most_need: Bytes of the arena for the shapes that need the most, of those planned so far.
        least_need: The same for those that need the least; None before any.
    """

    def __init__(
        self,
        code: Code,
        weights: Sequence[Array],
        options: ExecutionOptions,
    ) -> None:
        """Makes a context.

        Args:
            code: What it executes.
            weights: In the order in which the code takes them.
            options: How.

        Raises:
            InputError: There is no memory for it.
        """
        self._library = native_library()
        self._code = code
        self._program = code.program
        self._native = ctypes.byref(code.native)
        context = self._library.ingot_context_create(self._native)
        if not context:
            raise _no_memory()
        self._context = ctypes.c_void_p(context)
        ended = weakref.finalize(self, _destroy, self._library, self._context, code, options.pool)
        ended.atexit = False  # a thread may still be running it
        self.run_region: RegionRun | None = None
        self.most_need = 0
        self.least_need: int | None = None
        self._callback = REGION_CALL(_RegionCaller(self))
        settings = Settings(
            pool=options.pool.handle,
            call_region=self._callback,
            # The library takes 0 for no limit; a byte is as little as nothing.
            memory_limit=0 if options.memory_limit is None else max(options.memory_limit, 1),
            threads=options.threads,
            arena_flags=options.arena_flags,
            caller_core=-1 if options.caller_core is None else options.caller_core,
        )
        self._memory_limit = options.memory_limit
        self._library.ingot_context_configure(self._context, ctypes.byref(settings))
        interface = self._program.interface
        self._input_count = len(interface.inputs)
        self._input_dtypes = [(each.name, held_dtype(each.dtype)) for each in interface.inputs]
        self._output_dtypes = [held_dtype(tensor.dtype) for tensor in interface.outputs]
        self._new_outputs: list[tuple[str, tuple[int, ...], np.dtype[Any], int]] | None = None
        self._held: list[Any] = []
        self._set_fixed(weights)
        self._pointers = (ctypes.c_void_p * (self._input_count + len(interface.outputs)))()
        self._shapes: tuple[tuple[int, ...], ...] | None = None
        self._output_shapes: list[tuple[int, ...] | None] = []
        self._made: list[Array] = []
        self.error: Exception | None = None

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions that the code calls."""
        return self._program.regions

    @property
    def timed_names(self) -> tuple[str, ...]:
        """Names of what is timed, by number: the code's kernels, then regions."""
        return self._program.kernels + self._program.regions

    @property
    def output_count(self) -> int:
        """How many outputs the code has."""
        return len(self._program.outputs)

    @functools.cached_property
    def most_events(self) -> int:
        """How many calls of kernels and regions an execution makes at most."""
        return self._program.most_events

    @property
    def need(self) -> int:
        """Bytes of the arena for the shapes that were planned last."""
        return int(self._figures().need)

    @property
    def mapped(self) -> int:
        """Bytes of the arena as it is."""
        return int(self._figures().mapped)

    @property
    def output_shapes(self) -> list[tuple[int, ...] | None]:
        """The outputs' shapes for the inputs that were planned last; None where data decides."""
        return self._output_shapes

    def plan(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Prepares for inputs of some shapes: nothing is computed but sizes.

        Raises:
            InputError: The shapes do not fit each other, or ask for more memory than there is.
            MemoryLimitError: They ask for more memory than the session may take.
        """
        if shapes == self._shapes:
            return
        self._shapes = None
        flat = [size for shape in shapes for size in shape]
        status = self._library.ingot_plan(
            self._native, self._context, (ctypes.c_int64 * len(flat))(*flat)
        )
        self._check(status)
        figures = self._figures()
        if self._memory_limit is not None and figures.need > self._memory_limit:
            raise MemoryLimitError(
                f"these inputs need {figures.need} bytes between kernels, the session's "
                f"memory_limit is {self._memory_limit}: raise it, or give smaller sizes"
            )
        need = int(figures.need)
        self.most_need = max(self.most_need, need)
        self.least_need = need if self.least_need is None else min(self.least_need, need)
        self._output_shapes = [
            None
            if at in self._program.dynamic_outputs or not figures.planned_whole
            else self._tensor(number).sizes
            for at, number in enumerate(self._program.outputs)
        ]
        self._new_outputs = self._plan_new_outputs()
        self._shapes = shapes

    def _plan_new_outputs(self) -> list[tuple[str, tuple[int, ...], np.dtype[Any], int]] | None:
        """Name, shape, dtype and bytes of each output; None where data decides about one."""
        planned = []
        for stated, shape, dtype in zip(
            self._program.interface.outputs, self._output_shapes, self._output_dtypes, strict=True
        ):
            if shape is None:
                return None
            planned.append((stated.name, shape, dtype, math.prod(shape) * dtype.itemsize))
        return planned

    def require_known_outputs(self) -> None:
        """Checks that each output is written to memory of a size that is known before.

        Raises:
            InputError: The size of one depends on data, or it is a size itself.
        """
        if None in self._output_shapes:
            name = self._program.interface.outputs[self._output_shapes.index(None)].name
            raise InputError(
                f"output {name} cannot be bound, since its size depends on data or it is a size "
                "itself: use run"
            )

    def prepare(self) -> None:
        """Maps the memory that the planned inputs need, so that no inference has to.

        Raises:
            InputError: There is not so much memory.
        """
        self._check(self._library.ingot_prepare(self._context))

    def run(self, inputs: Sequence[Array], provided: Sequence[Array | None]) -> list[Array]:
        """Executes the code once.

        Args:
            inputs: Arrays that lie as code reads them.
            provided: For each output an array of its shape and of the type that code holds it in,
                aligned and C-contiguous, or None for a new one.

        Raises:
            InputError: The code refuses the inputs, or there is no memory.
            MemoryLimitError: They ask for more memory than the session may take.
        """
        self.plan(tuple(array.shape for array in inputs))
        return self._execute(inputs, self._outputs(provided))

    def run_again(self, inputs: dict[str, Any]) -> dict[str, Array] | None:
        """Executes the code once more on arrays of the shapes that were planned last.

        Most calls are such: nothing else has to be looked at.

        Args:
            inputs: Whatever was given for the inputs, by name.

        Returns:
            The outputs by name; None where the inputs are not arrays of these types and shapes.

        Raises:
            InputError: The code refuses the inputs, or there is no memory.
        """
        if self._shapes is None or self._new_outputs is None or len(inputs) != self._input_count:
            return None
        pointers, arrays, at = self._pointers, [], 0
        for (name, dtype), shape in zip(self._input_dtypes, self._shapes, strict=True):
            array = inputs.get(name)
            if type(array) is not np.ndarray or array.dtype != dtype or array.shape != shape:
                return None
            address = readable_address(array)
            if not address:
                return None
            arrays.append(array)  # for as long as code reads it
            pointers[at] = address
            at += 1
        results = {}
        try:
            for name, shape, dtype, size in self._new_outputs:
                results[name], pointers[at] = aligned_memory(shape, dtype, size)
                at += 1
        except MemoryError as error:
            raise _no_memory() from error
        if status := self._library.ingot_execute(self._native, self._context, pointers):
            self._check(status)
        return results

    def _execute(self, inputs: Sequence[Array], outputs: Sequence[Array | None]) -> list[Array]:
        pointers = self._pointers
        for at, array in enumerate(inputs):
            pointers[at] = address_of(array)
        for at, output in enumerate(outputs, self._input_count):
            pointers[at] = None if output is None else address_of(output)
        try:
            self._check(self._library.ingot_execute(self._native, self._context, pointers))
            return [
                self._copied(at) if output is None else output for at, output in enumerate(outputs)
            ]
        finally:
            self._made.clear()

    def fixed(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> Callable[[], None]:
        """Returns a function that executes the code on these very arrays.

        The arrays have to fit, and to live as long as the function is used.

        Raises:
            InputError: There is no memory.
        """
        self.plan(tuple(array.shape for array in inputs))
        self.prepare()
        arrays = [*inputs, *outputs]
        pointers = (ctypes.c_void_p * len(arrays))(*map(address_of, arrays))
        execute, native, context = self._library.ingot_execute, self._native, self._context

        def run() -> None:
            if status := execute(native, context, pointers):
                self._check(status)

        return run

    def timed(self, run: Callable[[], Result]) -> tuple[Result, KernelEvents]:
        """Has the kernels timed of what a function executes, and returns both."""
        events = KernelEvents.of(self.timed_names, self.most_events)
        self._time(events.rows)
        try:
            result = run()
        finally:
            self._time(None)
        return result, events.first(self._figures().event_count)

    def _time(self, events: npt.NDArray[np.int64] | None) -> None:
        """Has the kernels of the next executions timed.

        Args:
            events: Rows of a kernel's number, its start and its end in nanoseconds of the system's
                monotonic clock; None to stop.
        """
        pointer = None if events is None else ctypes.c_void_p(events.ctypes.data)
        self._library.ingot_context_time(
            self._context, pointer, 0 if events is None else len(events)
        )

    def _figures(self) -> Figures:
        figures = Figures()
        self._library.ingot_context_figures(self._context, ctypes.byref(figures))
        return figures

    def _tensor(self, number: int) -> Tensor:
        tensor: Tensor = self._library.ingot_context_tensor(self._context, number).contents
        return tensor

    def _set_fixed(self, weights: Sequence[Array]) -> None:
        """Tells the context of tensors that are the same in each execution, and of types."""
        interface = self._program.interface
        for number, stated in enumerate(interface.inputs):
            self._set(number, stated.dtype)
        for number, (stated, array) in enumerate(
            zip(interface.weights, weights, strict=True), self._input_count
        ):
            self._set(number, stated.dtype, array)
        for constant in self._program.constants:
            array = aligned_empty(constant.shape, held_dtype(constant.dtype))
            array.reshape(-1).view(np.uint8)[:] = np.frombuffer(constant.contents(), np.uint8)
            self._set(constant.tensor, constant.dtype, array)

    def _set(self, number: int, dtype: str, array: Array | None = None) -> None:
        tensor = self._tensor(number)
        tensor.code, tensor.bits = type_code(dtype)
        if array is not None:
            self._held.append(array)
            tensor.data = array.ctypes.data
            for axis, size in enumerate(array.shape):
                tensor.shape[axis] = size

    def _outputs(self, provided: Sequence[Array | None]) -> list[Array | None]:
        outputs: list[Array | None] = []
        try:
            for given, shape, dtype in zip(
                provided, self._output_shapes, self._output_dtypes, strict=True
            ):
                if shape is None:
                    outputs.append(None)
                else:
                    outputs.append(aligned_empty(shape, dtype) if given is None else given)
        except (MemoryError, ValueError) as error:
            raise _no_memory() from error
        return outputs

    def _copied(self, at: int) -> Array:
        """Returns an output that lies in memory of the context."""
        source = array_of(self._tensor(self._program.outputs[at]), self._output_dtypes[at])
        result = aligned_empty(source.shape, source.dtype)
        result[...] = source
        return result

    def call_region(self, name: str, inputs: Sequence[Array]) -> list[Array]:
        """Runs a region, and keeps what it returns for as long as the execution goes on."""
        assert self.run_region is not None
        results = self.run_region(name, inputs) or []
        self._made += results
        return results

    def _check(self, status: int) -> None:
        if status == Status.DONE:
            return
        if status == Status.REGION_FAILED and self.error is not None:
            error, self.error = self.error, None
            raise error
        message = self._library.ingot_context_message(self._context).decode(errors="replace")
        if status == Status.REFUSED:
            raise InputError(message)
        if status == Status.BEYOND_LIMIT:
            raise MemoryLimitError(
                f"these inputs need more memory between kernels than the session's memory_limit, "
                f"{self._memory_limit} bytes: raise it, or give smaller sizes"
            )
        if status in (Status.NO_MEMORY, Status.KERNEL_FAILED):
            # A kernel fails of itself only where there is no memory for it.
            raise _no_memory()
        raise IngotError(message or "the artifact's program is damaged: compile it again")


class _RegionCaller:
    """What the native library calls; does not keep its context alive."""

    def __init__(self, execution: Execution) -> None:
        self._execution = weakref.ref(execution)
        self._regions = execution.regions

    def __call__(
        self, region: int, input_count: int, inputs: Any, output_count: int, outputs: Any
    ) -> int:
        execution = self._execution()
        assert execution is not None
        try:
            arrays = [array_of(inputs[at].contents) for at in range(input_count)]
            results = execution.call_region(self._regions[region], arrays)
            for at, result in enumerate(results[:output_count]):
                point_to(outputs[at].contents, result)
        except Exception as error:  # noqa: BLE001  # raised again where the execution was started
            execution.error = error
            return 1
        return 0


def _destroy(library: Any, context: ctypes.c_void_p, code: Code, pool: Pool) -> None:
    """Ends a context; code and pool are named here so that they outlive it."""
    del code, pool
    library.ingot_context_destroy(context)


def _no_memory() -> InputError:
    return InputError("these inputs ask for more memory than there is: give smaller sizes")
