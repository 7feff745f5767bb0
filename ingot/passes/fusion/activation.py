"""Activations that exporters spell out, to the standard operators that compute them.

Definitions: hard-swish, Howard et al., "Searching for MobileNetV3" (2019), x * relu6(x + 3) / 6;
Mish, Misra (2019), x * tanh(softplus(x)); SiLU or Swish, Ramachandran et al. (2017),
x * sigmoid(alpha * x), with alpha = 1.702 the sigmoid approximation of GELU.
"""

from __future__ import annotations

import math
from typing import ClassVar

import onnx_ir as ir

from ingot.onnx_graph.matching import (
    FLOATS,
    Product,
    Unfit,
    affine,
    close,
    commuted,
    polynomial,
    producer,
    product,
    require_dtype,
    require_shape_kept,
    scalar,
)
from ingot.passes.base import PassOptions
from ingot.passes.fusion.clamps import Clamp, clamp_chain
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass

_WANTED = frozenset({ir.DataType.FLOAT})


class FuseActivation(FusionPass[PassOptions]):
    """Spelled-out activations to Clip, Relu, HardSigmoid, HardSwish, Sigmoid, Softplus, Mish, ….

    - Chains of Relu, Clip, and Min or Max with a constant, to one Relu or Clip.
    - A clamp of an affine form of x to [0, 1], scaled or not, to HardSigmoid.
    - x times such a HardSigmoid of slope 1/6 and offset 1/2, to HardSwish (opset 14).
    - 1 / (1 + exp(-x)) to Sigmoid; log(1 + exp(x)) to Softplus.
    - x * tanh(softplus(x)) to Mish (opset 18).
    - x * sigmoid(alpha x) to Swish (opset 24).
    - max(x, alpha x) with alpha between 0 and 1 to LeakyRelu.
    """

    name: ClassVar[str] = "fusion.activation"
    summary: ClassVar[str] = (
        "Recognize spelled-out activations: clip, hard-swish, SiLU, Mish and their parts."
    )
    candidates: ClassVar[frozenset[str]] = frozenset(
        {"Clip", "Relu", "Min", "Max", "Mul", "Div", "Reciprocal", "Log"}
    )

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches any of the activations that may end in ``node``."""
        if node.op_type in ("Mul", "Div"):
            return _match_product(node) or _match_hard_sigmoid(node) or _match_sigmoid(node)
        if node.op_type == "Reciprocal":
            return _match_sigmoid(node)
        if node.op_type == "Log":
            return _match_softplus(node)
        return _match_leaky_relu(node) or _match_hard_sigmoid(node) or _match_clamps(node)


def _fusion(
    node: ir.Node,
    region: frozenset[ir.Node],
    x: ir.Value,
    op_type: str,
    attributes: dict[str, float],
    opset: int = 1,
) -> Fusion:
    """An operator of one input in place of the region, once dtype and rank are known to fit."""
    require_dtype(x, _WANTED)
    require_shape_kept(x, region)

    def build(builder: Builder) -> ir.Value:
        return builder.node(op_type, [x], attributes)

    return Fusion(node, region, build, opset=opset, operator=op_type)


def _match_clamps(node: ir.Node) -> Fusion | None:
    chain = clamp_chain(node)
    if chain is None:
        return None
    is_standard = len(chain.nodes) == 1 and node.op_type in ("Relu", "Clip")
    if is_standard and not (node.op_type == "Clip" and (chain.low, chain.high) == (0, math.inf)):
        return None
    if chain.x.dtype is not None and chain.x.dtype.is_integer():
        return None  # arithmetic on shapes
    require_dtype(chain.x, FLOATS)
    require_shape_kept(chain.x, chain.nodes)
    dtype = chain.x.dtype

    def build(builder: Builder) -> ir.Value:
        if (chain.low, chain.high) == (0.0, math.inf):
            return builder.node("Relu", [chain.x])
        bounds = [
            builder.initializer(f"{node.outputs[0].name}_{name}", chain.bound(value, dtype))
            if math.isfinite(value)
            else None
            for name, value in (("min", chain.low), ("max", chain.high))
        ]
        return builder.node("Clip", [chain.x, *bounds] if bounds[1] else [chain.x, bounds[0]])

    return Fusion(node, chain.nodes, build, opset=11, operator="Clip with bounds as inputs")


def _hard_sigmoid(value: ir.Value, *, at_root: bool) -> tuple[ir.Value, Clamp] | None:
    """Reads ``value`` as a scaled clamp of an affine form of some x; the clamp is in terms of x.

    Returns:
        x, and low, high, slope and offset of ``clamp(slope * x + offset, low, high)``.
    """
    outer = affine(value, through_root=at_root)
    inner_node = producer(outer.base, "Clip", "Min", "Max", "Relu", "HardSigmoid")
    if inner_node is None or outer.offset != 0.0 or outer.scale <= 0.0:
        return None
    if inner_node.op_type == "HardSigmoid":
        chain = Clamp.of_hard_sigmoid(inner_node)
    else:
        found = clamp_chain(inner_node)
        if found is None:
            return None
        chain = found
    inner = affine(chain.x)
    total = Clamp(
        inner.base,
        outer.scale * chain.low,
        outer.scale * chain.high,
        outer.nodes | chain.nodes | inner.nodes,
        outer.scale * chain.slope * inner.scale,
        outer.scale * (chain.slope * inner.offset + chain.offset),
    )
    return inner.base, total


def _match_hard_sigmoid(node: ir.Node) -> Fusion | None:
    found = _hard_sigmoid(node.outputs[0], at_root=True)
    if found is None:
        return None
    x, clamp = found
    if clamp.low != 0.0 or not close(clamp.high, 1.0) or (clamp.slope, clamp.offset) == (1.0, 0.0):
        return None
    attributes = {"alpha": clamp.slope, "beta": clamp.offset}
    return _fusion(node, clamp.nodes, x, "HardSigmoid", attributes)


def _match_product(node: ir.Node) -> Fusion | None:
    found = product(node)
    if found is None or len(found.factors) != 2:
        return None
    for x, gate in (found.factors, found.factors[::-1]):
        fusion = _match_gated(node, found, x, gate)
        if fusion is not None:
            return fusion
    return None


def _match_gated(node: ir.Node, found: Product, x: ir.Value, gate: ir.Value) -> Fusion | None:
    """Product of x and a function of x: hard-swish, Mish or Swish."""
    hard = _hard_sigmoid(gate, at_root=True)
    if hard is not None and hard[0] is x:
        return _match_hard_swish(node, found, x, hard[1])
    if found.coefficient != 1.0:
        return None
    tanh = producer(gate, "Tanh")
    softplus = None if tanh is None else _read_softplus(tanh.inputs[0])
    if tanh is not None and softplus is not None and softplus[0] is x:
        return _fusion(node, found.nodes | {tanh} | softplus[1], x, "Mish", {}, 18)
    sigmoid = producer(gate, "Sigmoid")
    argument = None if sigmoid is None else sigmoid.inputs[0]
    if sigmoid is None or argument is None:
        return None
    form = polynomial(argument, x)
    if form is None or form.coefficients.keys() != {1}:
        return None
    region = found.nodes | {sigmoid} | form.nodes
    return _fusion(node, region, x, "Swish", {"alpha": form.coefficients[1]}, 24)


def _match_hard_swish(node: ir.Node, found: Product, x: ir.Value, clamp: Clamp) -> Fusion | None:
    c = found.coefficient
    actual = (c * clamp.high, c * clamp.slope, c * clamp.offset)
    region = found.nodes | clamp.nodes
    if clamp.low != 0.0 or not close(actual[0], 1.0):
        return None
    if not all(map(close, actual[1:], (1 / 6, 1 / 2))):
        raise Unfit(
            "it is x * hard sigmoid(x), but with slope "
            f"{actual[1]:g} and offset {actual[2]:g}: hard-swish has 1/6 and 1/2"
        )
    return _fusion(node, region, x, "HardSwish", {}, 14)


def _read_one_plus_exp(value: ir.Value | None) -> tuple[ir.Value, frozenset[ir.Node]] | None:
    """Reads 1 + exp(z); returns z."""
    add = producer(value, "Add")
    for one, other in () if add is None else commuted(add):
        exp = producer(other, "Exp")
        if scalar(one) == 1.0 and exp is not None and exp.inputs[0] is not None and add is not None:
            return exp.inputs[0], frozenset({add, exp})
    return None


def _read_softplus(value: ir.Value | None) -> tuple[ir.Value, frozenset[ir.Node]] | None:
    """Reads softplus(x), the operator or log(1 + exp(x)); returns x."""
    node = producer(value, "Softplus", "Log")
    if node is None or node.inputs[0] is None:
        return None
    if node.op_type == "Softplus":
        return node.inputs[0], frozenset({node})
    found = _read_one_plus_exp(node.inputs[0])
    return None if found is None else (found[0], found[1] | {node})


def _match_softplus(node: ir.Node) -> Fusion | None:
    found = _read_softplus(node.outputs[0])
    return None if found is None else _fusion(node, found[1], found[0], "Softplus", {})


def _match_sigmoid(node: ir.Node) -> Fusion | None:
    """1 / (1 + exp(-x)), as a Reciprocal or a Div; x times a Div is left to the product's rules."""
    is_quotient = node.op_type == "Div" and scalar(node.inputs[0]) == 1.0
    if not is_quotient and node.op_type != "Reciprocal":
        return None
    found = _read_one_plus_exp(node.inputs[1 if is_quotient else 0])
    negation = None if found is None else producer(found[0], "Neg")
    if found is None or negation is None or negation.inputs[0] is None:
        return None
    region = found[1] | {node, negation}
    return _fusion(node, region, negation.inputs[0], "Sigmoid", {})


def _match_leaky_relu(node: ir.Node) -> Fusion | None:
    if node.op_type != "Max" or len(node.inputs) != 2:
        return None
    for x, scaled in commuted(node):
        form = polynomial(scaled, x)
        if scaled is x or form is None or form.coefficients.keys() != {1}:
            continue
        slope = form.coefficients[1]
        if not 0.0 <= slope < 1.0:
            raise Unfit(f"it is max(x, {slope:g} x): a leaky ReLU's slope is between 0 and 1")
        return _fusion(node, form.nodes | {node}, x, "LeakyRelu", {"alpha": slope})
    return None
