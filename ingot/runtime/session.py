"""Running an artifact."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tvm_ffi

from ingot.errors import ArtifactError, InputError, UsageError
from ingot.runtime.alignment import ALIGNMENT, aligned_empty
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.library import load_executable
from ingot.runtime.manifest import CODE_MEMBER, WEIGHTS_MEMBER, Manifest, TensorSpec
from ingot.runtime.narrow_types import from_code, to_code
from ingot.runtime.safetensors import map_tensors
from ingot.runtime.threads import resolve_threads, use_threads

if TYPE_CHECKING:
    from ingot.runtime.npu.hosting import HostedRegions

Array = npt.NDArray[Any]


class Session:
    """A loaded artifact, ready to run.

    Loading checks every digest and refuses a damaged file, an unknown format version and a machine
    that lacks a feature the code needs. ``run`` may be called from several threads at once: calls
    take turns.

    Example:
        >>> from ingot.runtime import Session
        >>> with Session("model.ingot", threads=2) as session:  # doctest: +SKIP
        ...     outputs = session.run({"image": image})
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        executor: str | None = None,
    ) -> None:
        """Loads the artifact at ``path``.

        Args:
            path: An ``*.ingot`` file.
            threads: Threads per inference; ``None`` uses every core the process may run on.
            executor: What runs the regions of an artifact for an NPU: ``reference`` (the default)
                or ``command-stream``; see :mod:`ingot.runtime.npu.executor`.

        Raises:
            ArtifactError: The file is missing, damaged, of an unknown version, or not for this
                machine.
            UsageError: ``threads`` is below one, there is no such executor, or nothing for one.
            IngotError: What the executor needs is not installed.
        """
        self.threads = resolve_threads(threads)
        reader = ArtifactReader(path)
        reader.check_machine()
        reader.verify()
        self._reader = reader
        self._lock = threading.Lock()
        self._regions = _host_regions(reader, executor)
        functions = None if self._regions is None else self._regions.functions()
        self._machine: Any = load_executable(reader.member(CODE_MEMBER), functions)
        weights = map_tensors(reader.member(WEIGHTS_MEMBER))
        try:
            self._weights = [
                tvm_ffi.from_dlpack(weights[name]) for name in self.manifest.parameters
            ]
        except KeyError as error:
            raise ArtifactError(f"{reader.path} is damaged: weight {error} is missing") from error

    @property
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""
        return self._reader.manifest

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs: name, dtype, shape (a string is a symbolic dimension)."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs: name, dtype, shape."""
        return self.manifest.outputs

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
        """
        arrays = self._bind(inputs, more)
        symbols = self._check(arrays)
        provided = self._check_provided(outputs or {}, symbols)
        with self._lock:
            if self._machine is None:
                raise InputError("the session is closed: open the artifact again")
            use_threads(self.threads)
            tensors = [to_code(array) for array in arrays]
            results = self._call(tensors)
        if len(self.outputs) == 1 and not isinstance(results, (list, tuple, tvm_ffi.Array)):
            results = [results]
        produced = {
            spec.name: from_code(result, spec.dtype)
            for spec, result in zip(self.outputs, results, strict=True)
        }
        for name, array in provided.items():
            if array.shape != produced[name].shape:
                raise InputError(
                    f"output {name} has shape {list(produced[name].shape)}, the array provided for "
                    f"it {list(array.shape)}"
                )
            np.copyto(array, produced[name], casting="no")
            produced[name] = array
        return produced

    def _call(self, tensors: list[Any]) -> Any:
        if self._regions is None:
            return self._machine["main"](*tensors, *self._weights)
        self._regions.error = None
        try:
            return self._machine["main"](*tensors, *self._weights)
        except RuntimeError as error:
            # Of what a region raised, the code hands on no more than the text.
            raise self._regions.error or error from error

    @contextlib.contextmanager
    def instrumented(self, instrument: Callable[..., int]) -> Iterator[None]:
        """Has a function called before and after each call that the code makes.

        Args:
            instrument: Called with the function, its name, whether this is before the call, its
                result, and its arguments; returns 0.
        """
        self._set_instrument(instrument)
        try:
            yield
        finally:
            self._set_instrument(None)

    def _set_instrument(self, instrument: Callable[..., int] | None) -> None:
        with self._lock:
            if self._machine is not None:
                self._machine["set_instrument"](instrument)

    def close(self) -> None:
        """Releases the code and the mapped weights; ``run`` is refused from now on."""
        with self._lock:
            self._machine = None
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

    def _bind(self, inputs: Any, more: tuple[Any, ...]) -> list[Array]:
        """Returns the arrays in the order of the model's inputs."""
        names = [spec.name for spec in self.inputs]
        if isinstance(inputs, Mapping):
            if more:
                raise InputError("give either one mapping of inputs or arrays in order, not both")
            given = dict(inputs)
        else:
            values = (() if inputs is None else (inputs,)) + more
            if len(values) != len(names):
                raise InputError(
                    f"{len(values)} inputs were given, the model takes {len(names)}: "
                    f"{', '.join(names)}"
                )
            given = dict(zip(names, values, strict=True))
        unknown = [name for name in given if name not in names]
        missing = [name for name in names if name not in given]
        if unknown or missing:
            problem = f"no input is called {unknown[0]}" if unknown else f"{missing[0]} is missing"
            raise InputError(f"{problem}; the model's inputs are {', '.join(names)}")
        return [_as_array(name, given[name]) for name in names]

    def _check(self, arrays: list[Array]) -> dict[str, int]:
        """Checks dtypes and shapes; returns what the symbolic dimensions are bound to."""
        symbols: dict[str, int] = {}
        for spec, array in zip(self.inputs, arrays, strict=True):
            _check_tensor("input", spec, array, symbols)
            if 0 in array.shape and 0 not in spec.shape:
                raise InputError(f"input {spec} was given an empty array, {list(array.shape)}")
            if spec.index_limit is not None and array.size:
                _check_indices(spec, spec.index_limit, array)
        return symbols

    def _check_provided(
        self, provided: Mapping[str, Array], symbols: dict[str, int]
    ) -> dict[str, Array]:
        specs = {spec.name: spec for spec in self.outputs}
        for name, array in provided.items():
            if name not in specs:
                raise InputError(
                    f"no output is called {name}; the model's outputs are {', '.join(specs)}"
                )
            _check_tensor("output", specs[name], array, dict(symbols))
            if not (array.flags.c_contiguous and array.flags.writeable):
                raise InputError(f"the array for output {name} must be C-contiguous and writable")
        return dict(provided)


def _host_regions(reader: ArtifactReader, executor: str | None) -> HostedRegions | None:
    """Returns the regions that an NPU runs; what they need is imported only where there are any."""
    names = reader.manifest.npu_regions
    if not names:
        if executor is not None:
            raise UsageError(
                f"{reader.path} has no NPU regions, so there is nothing for executor {executor!r}"
            )
        return None
    hosting = importlib.import_module("ingot.runtime.npu.hosting")
    chosen = executor or importlib.import_module("ingot.runtime.npu.executor").DEFAULT_EXECUTOR
    hosted: HostedRegions = hosting.host_regions(names, reader.member, chosen)
    return hosted


def _as_array(name: str, value: Any) -> Array:
    """Returns the value as an aligned, C-contiguous, writable array, a view where that is one."""
    if not isinstance(value, np.ndarray) and hasattr(value, "__dlpack__"):
        value = np.from_dlpack(value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"input {name} is not an array: {error}") from error
    # DLPack cannot express a read-only array, and compiled code loads whole aligned vectors.
    if array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _check_indices(spec: TensorSpec, limit: int, array: Array) -> None:
    lowest, highest = int(array.min()), int(array.max())
    if lowest < -limit or highest >= limit:
        worst = lowest if lowest < -limit else highest
        raise InputError(
            f"input {spec} holds the index {worst}; the model has entries 0 to {limit - 1}"
        )


def _check_tensor(kind: str, spec: TensorSpec, array: Array, symbols: dict[str, int]) -> None:
    if array.dtype.name != spec.dtype:
        raise InputError(f"{kind} {spec} was given dtype {array.dtype.name}")
    if array.ndim != len(spec.shape):
        raise InputError(
            f"{kind} {spec} has {len(spec.shape)} dimensions, the array {array.ndim}: "
            f"{list(array.shape)}"
        )
    for dimension, size in zip(spec.shape, array.shape, strict=True):
        wanted = symbols.setdefault(dimension, size) if isinstance(dimension, str) else dimension
        if wanted != size:
            meaning = f" ({dimension} is {wanted} elsewhere)" if dimension != wanted else ""
            raise InputError(f"{kind} {spec} was given shape {list(array.shape)}{meaning}")
