"""Windows of signals: the ONNX operators ``BlackmanWindow``, ``HammingWindow``, ``HannWindow``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from tvm import relax, te, tirx

from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, at_least, largest
from ingot.targets.relax.operators.inputs import integers

_WIDE = "float64"

Convert = Callable[[Builder, "list[Any]", "dict[str, Any]"], relax.Expr]


def _window(*amplitudes: float) -> Convert:
    """Returns the converter of a window.

    Args:
        amplitudes: Of the cosines of zero, one and two periods.
    """

    def convert(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
        """Converts the operator.

        Args:
            builder: The builder to emit to.
            inputs: The window's size: known, symbolic, or given when the model runs.
            attributes: ``periodic`` and ``output_datatype``.
        """
        kind = int(attributes.get("output_datatype", onnx.TensorProto.FLOAT))
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).name
        given = integers(builder, inputs[0]).scalar()
        if not at_least(given, 0):
            builder.require(as_expression(given) >= 0, "size {0} is negative", given)
        size = largest(given, 0)
        shorter = 0 if attributes.get("periodic", 1) else 1
        if isinstance(size, int):
            return relax.const(_values(amplitudes, size, size - shorter).astype(dtype))

        def compute(extent: tirx.Expr) -> te.Tensor:
            step = tirx.const(2 * math.pi, _WIDE) / (extent - shorter).astype(_WIDE)

            def value(position: tirx.Expr) -> tirx.Expr:
                angle = position.astype(_WIDE) * step
                terms = [
                    tirx.const(amplitude, _WIDE) * tirx.cos(angle * tirx.const(periods, _WIDE))
                    for periods, amplitude in enumerate(amplitudes)
                ]
                return sum(terms[1:], terms[0]).astype(dtype)

            return te.compute((extent,), value, name="window")

        extent = as_expression(builder.dimension(size))
        return builder.emit_te(compute, extent, primfunc_name_hint="window")

    return convert


def _values(amplitudes: Sequence[float], size: int, period: int) -> np.ndarray[Any, np.dtype[Any]]:
    with np.errstate(divide="ignore", invalid="ignore"):
        angles = np.arange(size) * (2 * np.pi / np.float64(period))
    cosines = [amplitude * np.cos(k * angles) for k, amplitude in enumerate(amplitudes)]
    return np.asarray(sum(cosines))


blackman_window = _window(0.42, -0.5, 0.08)
hamming_window = _window(25 / 46, -21 / 46)
hann_window = _window(0.5, -0.5)
