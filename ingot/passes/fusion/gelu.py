"""GELU in its spelled-out forms.

Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016): x * Phi(x) = x/2 * (1 + erf(x/sqrt 2)),
and its approximation x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), which also is
x * sigmoid(2 sqrt(2/pi) * (x + 0.044715 x^3)).
"""

from __future__ import annotations

import math
from typing import ClassVar

import onnx_ir as ir

from ingot.onnx_graph.matching import (
    Unfit,
    affine,
    close,
    polynomial,
    producer,
    product,
    require_dtype,
    require_shape_kept,
)
from ingot.passes.base import PassOptions
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass

_ERF_ARGUMENT = {1: 1 / math.sqrt(2)}
_TANH_ARGUMENT = {1: math.sqrt(2 / math.pi), 3: 0.044715 * math.sqrt(2 / math.pi)}
_SIGMOID_ARGUMENT = {degree: 2 * c for degree, c in _TANH_ARGUMENT.items()}
_GATES = {
    "Erf": ("none", _ERF_ARGUMENT),
    "Tanh": ("tanh", _TANH_ARGUMENT),
    "Sigmoid": ("tanh", _SIGMOID_ARGUMENT),
}
_WANTED = frozenset({ir.DataType.FLOAT})


class FuseGelu(FusionPass[PassOptions]):
    """GELU by erf, tanh or sigmoid, its factors in any order and grouping, to Gelu (opset 20)."""

    name: ClassVar[str] = "fusion.gelu"
    summary: ClassVar[str] = "Recognize GELU from its spelled-out forms, by erf and by tanh."
    candidates: ClassVar[frozenset[str]] = frozenset({"Mul", "Div"})

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches the last multiplication of a GELU."""
        found = product(node)
        if found is None or len(found.factors) != 2:
            return None
        for x, factor in (found.factors, found.factors[::-1]):
            gate = affine(factor, through_root=True)
            function = producer(gate.base, *_GATES)
            argument = None if function is None else function.inputs[0]
            if function is None or argument is None or x is factor:
                continue
            form = polynomial(argument, x)
            if form is None or set(form.coefficients) - {0, 1, 2, 3}:
                continue
            scale, offset = found.coefficient * gate.scale, found.coefficient * gate.offset
            region = found.nodes | gate.nodes | {function} | form.nodes
            if function.op_type == "Sigmoid" and 3 not in form.coefficients:
                continue  # Swish
            approximate, expected = _GATES[function.op_type]
            halves = (1.0, 0.0) if function.op_type == "Sigmoid" else (0.5, 0.5)
            if not close(scale, halves[0]) or not math.isclose(
                offset, halves[1], rel_tol=1e-5, abs_tol=1e-12
            ):
                continue
            require_dtype(x, _WANTED)
            if not form.equals(expected):
                raise Unfit(
                    f"it has the form of GELU by {function.op_type.lower()}, but its argument is "
                    f"{_written(form.coefficients)}, not {_written(expected)}"
                )
            return _fusion(node, region, x, approximate)
        return None


def _fusion(node: ir.Node, region: frozenset[ir.Node], x: ir.Value, approximate: str) -> Fusion:
    require_shape_kept(x, region)

    def build(builder: Builder) -> ir.Value:
        return builder.node("Gelu", [x], {"approximate": approximate})

    return Fusion(node, region, build, opset=20, operator="Gelu")


def _written(coefficients: dict[int, float]) -> str:
    powers = {0: "", 1: " x", 2: " x^2", 3: " x^3"}
    terms = [f"{c:.6g}{powers[d]}" for d, c in sorted(coefficients.items()) if c != 0.0]
    return " + ".join(terms) or "0"
