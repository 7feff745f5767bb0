"""ONNX Runtime as the reference: what a model's outputs are before anything optimizes it.

Graph optimizations are off, and so is the packing of constant weights, because a packed weight is
multiplied in another order: whether a tensor is a constant must not change a result, or constant
folding would not be exact.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from ingot.errors import IngotError, InputError, ModelError, VerificationError, first_line
from ingot.onnx_graph.detached_weights import detach_weights
from ingot.onnx_graph.protos import read_proto, write_proto
from ingot.reference.batch_first import steps_first
from ingot.reference.evaluator import Evaluator
from ingot.runtime.onnxruntime.values import run_session

Array = np.ndarray[Any, np.dtype[Any]]
Value: TypeAlias = Any
"""An array; a list for a sequence, a dict for a map, None for an optional that is empty."""

LONGEST_SECONDS = 600.0
"""How long a model that loops may take for one run."""


class Reference:
    """A model in ONNX Runtime or, where that has no kernel, in onnx's own evaluator.

    Args:
        model: The model; not changed. A path is opened where it lies, external data beside it.
        threads: Threads within an operator; 0 for one per core.
        optimize: Whether ONNX Runtime may optimize the graph, for speed; off for a reference.
            Integer arithmetic is exact either way.
        expose: Names of intermediate values that :meth:`run` can return besides the outputs; not
            for a path.

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
    ) -> None:
        if isinstance(model, onnx.ModelProto):
            model = read_proto(model)
        exposed: set[str] = set()
        if isinstance(model, ir.Model) and expose:
            exposed = set(expose) - {str(value.name) for value in model.graph.outputs}
            model = _with_outputs(model, exposed)
        if isinstance(model, ir.Model):
            model = steps_first(model)
        self._loops = _may_loop(model)
        options = _session_options(threads, optimize)
        # The session reads these arrays, and does not hold them.
        self._lent: list[ort.OrtValue] = []
        try:
            if isinstance(model, Path):
                source: str | bytes = str(model)
            else:
                source, weights = detach_weights(model)
                self._lent = [ort.OrtValue.ortvalue_from_numpy(w) for w in weights.values()]
                if weights:
                    options.add_external_initializers(list(weights), self._lent)
            self._session: ort.InferenceSession | Evaluator = ort.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            if not (isinstance(error, NoKernel) and isinstance(model, ir.Model)):
                raise ModelError(
                    f"ONNX Runtime cannot load the model: {first_line(error)}"
                ) from error
            try:
                self._session = Evaluator(write_proto(model))
            except Exception as lacking:  # of whatever kind it raises for what it lacks
                raise ModelError(
                    f"ONNX Runtime cannot load the model: {first_line(error)}"
                ) from lacking
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(
            value.name for value in self._session.get_outputs() if value.name not in exposed
        )

    def run(
        self, inputs: Mapping[str, Value], outputs: Sequence[str] | None = None
    ) -> dict[str, Value]:
        """Runs the model once.

        Args:
            inputs: An array for each input, of the input's dtype and shape; lists for sequences.
            outputs: Which values to return; by default the model's outputs.

        Raises:
            InputError: An input is missing or unknown.
            ModelError: ONNX Runtime fails while running; says why.
            VerificationError: The model loops, and does not come to an end.
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
            if isinstance(self._session, Evaluator):
                values = self._session.run(names, inputs)
            else:
                values = self._run_within_time(self._session, names, inputs)
        except IngotError:
            raise
        except Exception as error:
            own = isinstance(self._session, Evaluator)
            runner = "onnx's evaluator" if own else "ONNX Runtime"
            raise ModelError(f"{runner} cannot run the model: {first_line(error)}") from error
        return dict(zip(names, values, strict=True))

    def _run_within_time(
        self, session: ort.InferenceSession, names: list[str], inputs: Mapping[str, Value]
    ) -> list[Value]:
        """Runs a session; one that loops is ended between two nodes when its time is over."""
        if not self._loops:
            return run_session(session, names, inputs)
        options = ort.RunOptions()
        timer = threading.Timer(LONGEST_SECONDS, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return run_session(session, names, inputs, options)
        except Exception as error:
            if options.terminate:
                raise VerificationError(
                    f"ONNX Runtime does not come to the end of the model's loops within "
                    f"{LONGEST_SECONDS:.0f} s"
                ) from error
            raise
        finally:
            timer.cancel()


def _may_loop(model: ir.Model | Path) -> bool:
    """Whether a model has what can run without end; of a file that is not known."""
    return isinstance(model, Path) or any(
        node.op_type == "Loop" for node in model.graph.all_nodes()
    )


def _session_options(threads: int, optimize: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised; on stderr as well they would show twice
    options.intra_op_num_threads = threads
    # Without VNNI, sums of products of u8 and s8 would saturate at int16 (QDQ that is fused).
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _with_outputs(model: ir.Model, names: set[str]) -> ir.Model:
    copy = model.clone()
    for node in copy.graph:
        copy.graph.outputs.extend(value for value in node.outputs if value.name in names)
    return copy
