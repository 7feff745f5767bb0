"""Running an artifact."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm_ffi

from ingot.errors import ArtifactError, InputError, UsageError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.binding import bind_inputs, check_inputs, check_provided, lay_out
from ingot.runtime.hosting import HostedRegions, host_regions
from ingot.runtime.interface import INTERFACE_FUNCTION, Interface
from ingot.runtime.library import load_executable
from ingot.runtime.manifest import CODE_MEMBER, WEIGHTS_MEMBER, Manifest, TensorSpec
from ingot.runtime.narrow_types import from_code, to_code
from ingot.runtime.safetensors import load_weights
from ingot.runtime.threads import resolve_threads, use_threads

Array = npt.NDArray[Any]

# What TVM's allocator raises.
_NO_MEMORY = "bad_alloc"


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
        self._reader = reader
        # Read at every call.
        self._inputs, self._outputs = self.manifest.inputs, self.manifest.outputs
        self._lock = threading.Lock()
        self._closed = False
        weights = load_weights(reader.member(WEIGHTS_MEMBER), self.manifest.weights)
        self._regions = _host_regions(reader, weights, self.threads, executor)
        functions = None if self._regions is None else self._regions.functions()
        # None where a region is the whole model.
        self._machine: Any = None
        if CODE_MEMBER in self.manifest.members:
            self._machine = load_executable(reader.member(CODE_MEMBER), functions)
            _check_interface(self._machine, self.manifest)
        reader.verify()
        reader.close()
        self._weights = [tvm_ffi.from_dlpack(weights[name]) for name in self.manifest.parameters]

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
            ArtifactError: The file was overwritten, and its weights could not be kept.
        """
        values = bind_inputs(self._inputs, inputs, more)
        symbols = check_inputs(self._inputs, values)
        provided = {} if outputs is None else check_provided(self._outputs, outputs, symbols)
        values = lay_out(self._inputs, values)
        with self._lock:
            if self._closed:
                raise InputError("the session is closed: open the artifact again")
            self._reader.require_intact()
            if self._machine is None:
                assert self._regions is not None
                results = self._regions.run_alone(values)
                produced = {s.name: r for s, r in zip(self._outputs, results, strict=True)}
            else:
                produced = self._run_code(values)
            self._reader.require_intact()
        for name, array in provided.items():
            if array.shape != produced[name].shape:
                raise InputError(
                    f"output {name} has shape {list(produced[name].shape)}, the array provided for "
                    f"it {list(array.shape)}"
                )
            np.copyto(array, produced[name], casting="equiv")
            produced[name] = array
        return produced

    def _run_code(self, values: list[Any]) -> dict[str, Any]:
        """Calls the code with what it can hold of the inputs; regions get the others."""
        use_threads(self.threads)
        tensors, others = [], {}
        for spec, value in zip(self._inputs, values, strict=True):
            if spec.in_code:
                tensors.append(to_code(value))
            else:
                others[spec.name] = value
        results = self._call(tensors, others)
        if not isinstance(results, (list, tuple, tvm_ffi.Array)):
            results = [results]
        # Behind the outputs there may be what only says that a region was called.
        held = [spec for spec in self._outputs if spec.in_code]
        produced = {
            spec.name: from_code(result, spec.dtype)
            for spec, result in zip(held, results, strict=False)
        }
        if self._regions is not None:
            produced.update(self._regions.end())
        return {spec.name: produced[spec.name] for spec in self._outputs}

    def _call(self, tensors: list[Any], others: Mapping[str, Any]) -> Any:
        if self._regions is not None:
            self._regions.begin(others)
        try:
            return self._machine["main"](*tensors, *self._weights)
        except RuntimeError as error:
            if _NO_MEMORY in str(error):
                raise InputError(
                    "these inputs ask for more memory than there is: give smaller sizes"
                ) from error
            # Of what a region raised, the code hands on no more than the text.
            raise (self._regions and self._regions.error) or error from error

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
            self._closed = True
            self._machine = None
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


def _check_interface(machine: Any, manifest: Manifest) -> None:
    """Holds what the manifest says against what the code says of itself."""
    try:
        described = machine[INTERFACE_FUNCTION]
    except AttributeError:
        raise ArtifactError(
            "the artifact's code does not say what it was compiled for: compile it again"
        ) from None
    Interface.from_json(described()).check(manifest)


def _host_regions(
    reader: ArtifactReader, weights: Mapping[str, Array], threads: int, executor: str | None
) -> HostedRegions | None:
    """Returns what runs the artifact's regions; None where it has none."""
    if executor is not None and not reader.manifest.npu_regions:
        raise UsageError(
            f"{reader.path} has no NPU regions, so there is nothing for executor {executor!r}"
        )
    if not reader.manifest.regions:
        return None
    return host_regions(reader, weights, threads, executor)
