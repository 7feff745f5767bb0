"""Running an artifact."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from ingot.errors import InputError, UsageError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.binding import bind_inputs, check_inputs, check_provided, lay_out
from ingot.runtime.code import Code
from ingot.runtime.execution import Execution, ExecutionOptions
from ingot.runtime.hosting import hosted_regions
from ingot.runtime.kernel_events import KernelEvents
from ingot.runtime.manifest import CODE_MEMBER, WEIGHTS_MEMBER, Manifest, TensorSpec
from ingot.runtime.narrow_types import from_code, held_dtype, to_code
from ingot.runtime.native_library import HUGE_PAGES
from ingot.runtime.peak_memory import peak_resident_bytes
from ingot.runtime.profiling import recording
from ingot.runtime.profiling.event_sources import SESSION
from ingot.runtime.profiling.inferences import (
    ModelFacts,
    record_failure,
    record_inference,
    record_kernels,
    recording_inferences,
)
from ingot.runtime.profiling.recording import ProfilingSession
from ingot.runtime.provided import delivered, writable_by_code
from ingot.runtime.recorder import recorded
from ingot.runtime.safetensors import load_weights
from ingot.runtime.threads import SPIN_MICROSECONDS, resolve_threads, shared_pool
from ingot.runtime.trust import Trust, trusted_keys
from ingot.runtime.watching import Watched

if TYPE_CHECKING:
    from ingot.runtime.bound_run import BoundRun
    from ingot.runtime.topology import Placement

Array = npt.NDArray[Any]


class Session(Watched):
    """A loaded artifact, ready to run.

    Loading checks every digest and refuses a damaged file, an unknown format version and a machine
    that lacks a feature the code needs. ``run`` may be called from several threads at once: each
    call has an execution context of its own, and all share the weights.

    Example:
        >>> from ingot.runtime import Session
        >>> with Session("model.ingot", threads=2) as session:  # doctest: +SKIP
        ...     outputs = session.run({"image": image})

    Attributes:
        threads: Threads per inference.
        cores: The processors that they are bound to; none where they are not.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        cores: Placement | Sequence[int] | None = None,
        spin_microseconds: int = SPIN_MICROSECONDS,
        memory_limit: int | None = None,
        huge_pages: bool = False,
        executor: str | None = None,
        trust: Trust = None,
    ) -> None:
        """Loads the artifact at ``path``.

        Args:
            path: An ``*.ingot`` file.
            threads: Threads per inference; ``None`` uses every CPU the process may keep busy: those
                of its affinity, and no more than its control groups' quota.
            cores: The processors that threads are bound to, ``[0, 1]``; or how to choose them:
                ``compact`` stays within a memory node as long as there is room, ``spread`` takes
                nodes in turn. ``None`` binds no thread.
            spin_microseconds: How long an idle thread looks for work before it sleeps. More answers
                sooner, less leaves the CPUs to others.
            memory_limit: Bytes that tensors between kernels may take, for each inference at a time;
                inputs that need more are refused before anything runs.
            huge_pages: Whether that memory is of huge pages, where the system has them.
            executor: What runs the regions of an artifact for an NPU: ``reference`` (the default)
                or ``command-stream``; see :mod:`ingot.runtime.npu.executor`.
            trust: A file or a folder of public keys: an artifact that none of them has signed is
                refused before anything of it is loaded. ``None`` stands for the policy of this
                machine, ``$INGOT_TRUST`` or ``/etc/ingot/trust.pem``, and any artifact where there
                is none; ``False`` loads any artifact. See :mod:`ingot.runtime.trust`.

        Raises:
            ArtifactError: The file is missing, damaged, of an unknown version, or not for this
                machine.
            UntrustedError: No trusted key has signed it, or it was changed since.
            UsageError: An option is out of its range, the process may not use a processor, there is
                no such executor, or nothing for one.
            IngotError: What the executor needs is not installed, or the threads cannot be started.
        """
        started = time.perf_counter_ns()
        if memory_limit is not None and memory_limit < 0:
            raise UsageError(f"memory_limit must not be negative, as {memory_limit} is")
        if spin_microseconds < 0:
            raise UsageError(f"spin_microseconds must not be negative, as {spin_microseconds} is")
        super().__init__()
        self.threads = resolve_threads(threads)
        self.cores = _cores(cores)
        reader = ArtifactReader(path, trusted_keys(trust))
        reader.check_machine()
        self._reader = reader
        # Read at every call.
        self._inputs, self._outputs = self.manifest.inputs, self.manifest.outputs
        weights = load_weights(reader.member(WEIGHTS_MEMBER), self.manifest.weights)
        self._regions = hosted_regions(reader, weights, self.threads, executor)
        # None where a region is the whole model.
        self._code: Code | None = None
        contents = reader.member(CODE_MEMBER) if CODE_MEMBER in self.manifest.members else None
        # Loading a library runs what it asks to be run: all else is known to be right before.
        reader.verify()
        reader.close()
        if contents is not None:
            self._code = Code(contents)
            self._code.check(self.manifest)
        self._weights = [weights[name] for name in self.manifest.parameters]
        # Whether code takes and gives all tensors as callers do.
        self._plain = self._regions is None and all(
            spec.in_code and spec.is_numeric and held_dtype(spec.dtype).name == spec.dtype
            for spec in (*self._inputs, *self._outputs)
        )
        pool = shared_pool(self.cores, spin_microseconds)
        pool.grow(self.threads)
        self._options = ExecutionOptions(
            pool=pool,
            threads=self.threads,
            memory_limit=memory_limit,
            arena_flags=HUGE_PAGES if huge_pages else 0,
            caller_core=self.cores[0] if self.cores else None,
        )
        self._changed = threading.Condition()
        self._closed = False
        self._running = 0
        self._idle: list[Execution] = []
        _sessions.add(self)
        self._facts = ModelFacts(self.manifest.name, self.threads, self.manifest.kernels)
        self._load_peak = peak_resident_bytes()
        loaded = time.perf_counter_ns()
        SESSION.record("load", started, loaded, artifact=self._facts.artifact, threads=self.threads)

    @property
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""
        return self._reader.manifest

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs: name, dtype, shape (a string is a symbolic dimension)."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs: name, dtype, shape."""
        return self._outputs

    @property
    def arena_bytes(self) -> int:
        """Bytes of memory for tensors between kernels, of the contexts that are idle now."""
        with self._changed:
            return sum(execution.mapped for execution in self._idle)

    @recorded
    def run(
        self,
        inputs: Mapping[str, Any] | Any = None,
        /,
        *more: Any,
        outputs: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Runs one inference.

        Args:
            inputs: A mapping from input names to arrays, or the first array; anything that NumPy
                or DLPack can read without a conversion of the dtype.
            *more: The other inputs, in order, when the first is an array.
            outputs: Arrays to write the outputs of these names to, C-contiguous, of the right
                dtype and shape. The returned mapping then holds these very arrays.

        Returns:
            A mapping from output names to arrays.

        Raises:
            InputError: A name, dtype or shape is wrong; nothing has run then.
            MemoryLimitError: These inputs need more memory than the session may take.
            ArtifactError: The file was overwritten, and its weights could not be kept.
        """
        if recording.on and (recorder := recording_inferences()) is not None:
            return self._run_recorded(recorder, inputs, more, outputs)
        if type(inputs) is dict and self._plain and not more and outputs is None:
            with self._execution() as execution:
                results = None if execution is None else execution.run_again(inputs)
            if results is not None:
                return results
        values, provided = self._checked(inputs, more, outputs)
        with self._execution() as execution:
            produced = self._run(execution, values, provided)
        return delivered(produced, provided)

    @recorded
    def run_timed(
        self, inputs: Mapping[str, Any] | Any = None, /, *more: Any
    ) -> tuple[dict[str, Array], KernelEvents]:
        """Runs one inference and times its kernels, which costs some 50 ns for each.

        Args:
            inputs: As ``run`` takes them.
            *more: The same.

        Returns:
            The outputs, and when each kernel ran.
        """
        values, provided = self._checked(inputs, more, None)
        with self._execution() as execution:
            return self._run_timed(execution, values, provided)

    def bind(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        outputs: Mapping[str, Array] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> BoundRun:
        """Binds input and output buffers once, for runs that allocate and copy nothing.

        Args:
            inputs: Arrays to read the inputs of these names from, C-contiguous, aligned to 16
                bytes, of the right dtype and shape; for others there are new ones.
            outputs: The same for outputs.
            sizes: What symbolic dimensions are, as far as the arrays given do not say it.

        Raises:
            InputError: An array does not fit, a symbolic dimension is not known, or the sizes of
                outputs depend on data.
            MemoryLimitError: These sizes need more memory than the session may take.
        """
        from ingot.runtime.bound_run import BoundRun, bound_arrays

        if self._code is None or self._regions is not None:
            raise InputError(
                "buffers can be bound only where compiled code runs the whole model; "
                f"here {self.manifest.left_to_onnxruntime or 'an NPU runs a part of it'}: use run"
            )
        with self._changed:
            self._require_open()
        taken = bound_arrays("input", self._inputs, inputs or {}, dict(sizes or {}))
        execution = self._new_execution(self._code)
        execution.plan(tuple(array.shape for array in taken.values()))
        execution.require_known_outputs()
        given = bound_arrays("output", self._outputs, outputs or {}, {}, execution.output_shapes)
        return BoundRun(
            execution, self._reader.require_intact, taken, given, self._facts, self._recorder
        )

    def _checked(
        self, inputs: Any, more: tuple[Any, ...], outputs: Mapping[str, Array] | None
    ) -> tuple[list[Any], dict[str, Array]]:
        values = bind_inputs(self._inputs, inputs, more)
        symbols = check_inputs(self._inputs, values)
        provided = {} if outputs is None else check_provided(self._outputs, outputs, symbols)
        return lay_out(self._inputs, values), provided

    def _execution(self) -> _Lent:
        """Lends a context that no other call has; None where no code runs."""
        return _Lent(self)

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("the session is closed: open the artifact again")

    def _new_execution(self, code: Code) -> Execution:
        execution = Execution(code, self._weights, self._options)
        self._contexts.add(execution)
        return execution

    def _run(
        self, execution: Execution | None, values: list[Any], provided: Mapping[str, Array]
    ) -> dict[str, Array]:
        if execution is None:
            assert self._regions is not None
            results = self._regions.run_alone(values)
            return {spec.name: result for spec, result in zip(self._outputs, results, strict=True)}
        tensors = [
            to_code(value) for spec, value in zip(self._inputs, values, strict=True) if spec.in_code
        ]
        held = [spec for spec in self._outputs if spec.in_code]
        # Behind the outputs there may be what only says that a region was called.
        marks = execution.output_count - len(held)
        direct = [writable_by_code(provided.get(spec.name), spec, tensors) for spec in held]
        made: dict[str, Any] = {}
        if self._regions is not None:
            inference = self._regions.begin(self._given(values))
            execution.run_region, made = inference.run, inference.made
        results = execution.run(tensors, [*direct, *[None] * marks])
        produced = {
            spec.name: from_code(result, spec.dtype)
            for spec, result in zip(held, results, strict=False)
        }
        if not made:
            return produced
        produced.update(made)
        return {spec.name: produced[spec.name] for spec in self._outputs}

    def _run_timed(
        self, execution: Execution | None, values: list[Any], provided: Mapping[str, Array]
    ) -> tuple[dict[str, Array], KernelEvents]:
        if execution is None:
            return self._run(None, values, provided), KernelEvents.none()
        return execution.timed(lambda: self._run(execution, values, provided))

    def _run_recorded(
        self,
        recorder: ProfilingSession,
        inputs: Any,
        more: tuple[Any, ...],
        outputs: Mapping[str, Array] | None,
    ) -> dict[str, Array]:
        """As ``run``, for a profiling session."""
        now, events = time.perf_counter_ns, None
        start = now()
        try:
            values, provided = self._checked(inputs, more, outputs)
            bound = now()
            with self._execution() as execution:
                entered = now()
                if recorder.kernels:
                    produced, events = self._run_timed(execution, values, provided)
                else:
                    produced = self._run(execution, values, provided)
                ran = now()
            produced = delivered(produced, provided)
        except BaseException as error:
            record_failure(recorder, self._facts, start, error)
            raise
        request = record_inference(recorder, self._facts, start, bound, entered, ran)
        if events is not None:
            record_kernels(recorder, self._facts, events.names, events.rows, request)
        return produced

    def _given(self, values: list[Any]) -> dict[str, Any]:
        """The inputs that compiled code cannot hold, by name."""
        return {
            spec.name: value
            for spec, value in zip(self._inputs, values, strict=True)
            if not spec.in_code
        }

    def close(self) -> None:
        """Releases the code and the mapped weights; ``run`` is refused from now on."""
        with self._changed:
            self._closed = True
            while self._running:
                self._changed.wait()
            self._idle.clear()
            self._code = None
            if self._regions is not None:
                self._regions.close()
            self._regions = None
            self._weights = []

    def __enter__(self) -> Session:
        """Returns the session itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the session."""
        self.close()

    def _after_fork(self) -> None:
        """In a child there is no other thread: nobody holds the lock, and nothing runs."""
        self._changed = threading.Condition()
        self._running = 0


class _Lent:
    """An execution context while a call has it; a class, since entering a generator costs more."""

    __slots__ = ("_execution", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._execution: Execution | None = None

    def __enter__(self) -> Execution | None:
        session = self._session
        with session._changed:
            session._require_open()
            session._running += 1
            self._execution = session._idle.pop() if session._idle else None
        try:
            if self._execution is None and session._code is not None:
                self._execution = session._new_execution(session._code)
            session._reader.require_intact()
        except BaseException:
            self._give_back()
            raise
        return self._execution

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._session._reader.require_intact()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        session = self._session
        with session._changed:
            session._running -= 1
            if session._closed:
                session._changed.notify_all()
            elif self._execution is not None:
                session._idle.append(self._execution)


def _cores(cores: Placement | Sequence[int] | None) -> tuple[int, ...]:
    """The processors that threads are bound to; how the machine is built is looked up if asked."""
    if cores is None:
        return ()
    from ingot.runtime.topology import resolve_cores

    return resolve_cores(cores)


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork() -> None:
    for session in list(_sessions):
        session._after_fork()


os.register_at_fork(after_in_child=_after_fork)
