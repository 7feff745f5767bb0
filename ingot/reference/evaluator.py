"""onnx's own evaluator as the reference, for what ONNX Runtime has no kernel for.

ONNX Runtime lacks operators of the newest opsets and operators on rare types (a maximum of 16-bit
integers, casts of 4-bit floats). The evaluator has all, in NumPy and so slowly.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

Array = np.ndarray[Any, np.dtype[Any]]


class Evaluator:
    """A model in onnx's evaluator, with the methods of ONNX Runtime's session that are needed.

    Args:
        model: The model, its weights in it.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        weights = {weight.name for weight in model.graph.initializer}
        self._inputs = [value for value in model.graph.input if value.name not in weights]
        self._outputs = list(model.graph.output)
        self._evaluator = ReferenceEvaluator(model)

    def get_inputs(self) -> list[onnx.ValueInfoProto]:
        """The inputs that have to be given."""
        return self._inputs

    def get_outputs(self) -> list[onnx.ValueInfoProto]:
        """The outputs."""
        return self._outputs

    def run(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Any]:
        """Returns the outputs of these names."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            values = self._evaluator.run(list(names), dict(inputs))
        return [np.asarray(value) if np.isscalar(value) else value for value in values]
