"""ONNX Runtime as the reference: what a model's outputs are before anything optimizes it.

Graph optimizations are off, and so is the packing of constant weights, because a packed weight is
multiplied in another order: whether a tensor is a constant must not change a result, or constant
folding would not be exact.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from ingot.errors import InputError, ModelError, first_line
from ingot.passes.storage import INLINE_LIMIT, fits_inline, save, to_bytes

Array = np.ndarray[Any, np.dtype[Any]]


class Reference:
    """A model in ONNX Runtime.

    Args:
        model: The model; not changed. A path is opened where it lies, external data beside it.
        threads: Threads within an operator; 0 for one per core.
        optimize: Whether ONNX Runtime may optimize the graph (as a peer); off for a reference.
        expose: Names of intermediate values that :meth:`run` can return besides the outputs; not
            for a path.
        inline_limit: Weights above this many bytes go through a temporary file.

    Raises:
        ModelError: ONNX Runtime refuses the model; says why.
    """

    def __init__(
        self,
        model: ir.Model | onnx.ModelProto | Path,
        *,
        threads: int = 0,
        optimize: bool = False,
        expose: Sequence[str] = (),
        inline_limit: int = INLINE_LIMIT,
    ) -> None:
        if isinstance(model, onnx.ModelProto):
            model = ir.from_proto(model)
        exposed: set[str] = set()
        if isinstance(model, ir.Model) and expose:
            exposed = set(expose) - {str(value.name) for value in model.graph.outputs}
            model = _with_outputs(model, exposed)
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        if isinstance(model, Path):
            source: str | bytes = str(model)
        elif fits_inline(model, inline_limit):
            source = to_bytes(model)
        else:
            self._directory = tempfile.TemporaryDirectory(prefix="ingot-reference-")
            path = Path(self._directory.name) / "model.onnx"
            save(model, path, limit=inline_limit)
            source = str(path)
        try:
            self._session = ort.InferenceSession(
                source, _session_options(threads, optimize), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            self.close()
            raise ModelError(f"ONNX Runtime cannot load the model: {first_line(error)}") from error
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(
            value.name for value in self._session.get_outputs() if value.name not in exposed
        )

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Runs the model once.

        Args:
            inputs: An array for each input, of the input's dtype and shape.
            outputs: Which values to return; by default the model's outputs.

        Raises:
            InputError: An input is missing or unknown.
            ModelError: ONNX Runtime fails while running; says why.
        """
        unknown = [name for name in inputs if name not in self.inputs]
        missing = [name for name in self.inputs if name not in inputs]
        if unknown or missing:
            raise InputError(
                f"the model's inputs are {', '.join(self.inputs)}; "
                f"missing: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
            )
        names = list(self.outputs if outputs is None else outputs)
        try:
            values = self._session.run(names, dict(inputs))
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot run the model: {first_line(error)}") from error
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, np.ndarray):
                raise ModelError(f"output '{name}' is no tensor; only tensors can be compared")
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Removes the temporary file of a large model, if there is one."""
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def __enter__(self) -> Reference:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _session_options(threads: int, optimize: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised; on stderr as well they would show twice
    options.intra_op_num_threads = threads
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _with_outputs(model: ir.Model, names: set[str]) -> ir.Model:
    copy = model.clone()
    for node in copy.graph:
        copy.graph.outputs.extend(value for value in node.outputs if value.name in names)
    return copy
