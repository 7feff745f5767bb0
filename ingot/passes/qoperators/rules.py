"""Operators on integers that are a float operator between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from ingot.onnx_graph.matching import Unfit, rank
from ingot.passes.fusion.rewriting import Builder
from ingot.passes.qoperators.grids import Grid, GridBuilder

Rule = Callable[[ir.Node, Builder], ir.Value]
"""Makes what stands for a node's output; raises Unfit where it cannot."""

CONTRIB = "com.microsoft"


def convolution(node: ir.Node, builder: Builder) -> ir.Value:
    """``QLinearConv``: x, its grid, weights, their grid, the result's grid, and a bias of int32."""
    grids = GridBuilder(builder)
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = _inputs(node, 9)
    source, weights = grids.grid(x_scale, x_zero), grids.grid(w_scale, w_zero, 0)
    result = grids.grid(y_scale, y_zero)
    axes = rank(w)
    if axes is None:
        raise Unfit("its weights have no known rank")
    last = node.attributes.get_int("channels_last", 0)
    to_first, to_last = [0, axes - 1, *range(1, axes - 1)], [0, *range(2, axes), 1]
    if last:
        x = builder.node("Transpose", [x], {"perm": to_first}, dtype=x.dtype if x else None)
    inputs = [grids.dequantize(x, source), grids.dequantize(w, weights)]
    if bias is not None:
        inputs.append(grids.dequantize(bias, _accumulator(grids, source, weights, 0)))
    real = builder.node("Conv", inputs, _attributes(node, "channels_last"))
    integers = grids.quantize(real, result, _dtype(y_zero, node))
    return builder.node("Transpose", [integers], {"perm": to_last}) if last else integers


def matrix_product(node: ir.Node, builder: Builder) -> ir.Value:
    """``QLinearMatMul``: a, its grid, b, its grid, and the result's grid."""
    grids = GridBuilder(builder)
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = _inputs(node, 8)
    rows, columns = rank(a), rank(b)
    left = grids.grid(a_scale, a_zero, None if rows is None else rows - 2)
    right = grids.grid(b_scale, b_zero, None if columns is None else columns - 1)
    result = grids.grid(y_scale, y_zero)
    real = builder.node("MatMul", [grids.dequantize(a, left), grids.dequantize(b, right)])
    return grids.quantize(real, result, _dtype(y_zero, node))


def gemm(node: ir.Node, builder: Builder) -> ir.Value:
    """``QGemm``: a, its grid, b, its grid, a bias of int32, and the result's grid or none."""
    grids = GridBuilder(builder)
    a, a_scale, a_zero, b, b_scale, b_zero, bias, y_scale, y_zero = _inputs(node, 9)
    transposed = node.attributes.get_int("transB", 0)
    alpha = node.attributes.get_float("alpha", 1.0) or 1.0
    axis = 0 if transposed else 1
    left, right = grids.grid(a_scale, a_zero), grids.grid(b_scale, b_zero, axis)
    if alpha != 1.0:
        right = Grid(grids.product(right.scale, alpha), right.zero_point, right.axis)
    inputs = [grids.dequantize(a, left), grids.dequantize(b, right)]
    if bias is not None:
        axis_of_bias = (rank(bias) or 1) - 1
        inputs.append(grids.dequantize(bias, _accumulator(grids, left, right, axis_of_bias)))
    real = builder.node("Gemm", inputs, _attributes(node, "alpha"))
    if y_scale is None:
        return real
    return grids.quantize(real, grids.grid(y_scale, y_zero), _dtype(y_zero, node, a_zero, a))


def binary(operator: str) -> Rule:
    """``QLinearAdd`` and ``QLinearMul``: two tensors with their grids, and the result's."""

    def rule(node: ir.Node, builder: Builder) -> ir.Value:
        grids = GridBuilder(builder)
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = _inputs(node, 8)
        real = builder.node(
            operator,
            [
                grids.dequantize(a, grids.grid(a_scale, a_zero)),
                grids.dequantize(b, grids.grid(b_scale, b_zero)),
            ],
        )
        return grids.quantize(real, grids.grid(y_scale, y_zero), _dtype(y_zero, node, a_zero, a))

    return rule


def unary(operator: str) -> Rule:
    """A function of one tensor: x, its grid, and the result's."""

    def rule(node: ir.Node, builder: Builder) -> ir.Value:
        grids = GridBuilder(builder)
        x, x_scale, x_zero, y_scale, y_zero = _inputs(node, 5)
        if node.attributes.get_int("channels_last", 0):
            raise Unfit("its channels are last")
        source = grids.dequantize(x, grids.grid(x_scale, x_zero))
        real = builder.node(operator, [source], _attributes(node, "channels_last", "opset"))
        return grids.quantize(real, grids.grid(y_scale, y_zero), _dtype(y_zero, node, x_zero, x))

    return rule


def softmax(node: ir.Node, builder: Builder) -> ir.Value:
    """``QLinearSoftmax``, where it is over one axis, as ``Softmax`` is since opset 13."""
    axis, axes = node.attributes.get_int("axis", -1), rank(node.inputs[0])
    last = axes is not None and axis in (-1, axes - 1)
    if (node.attributes.get_int("opset", 0) or 0) < 13 and not last:
        raise Unfit("it is over several axes at once")
    return unary("Softmax")(node, builder)


def concatenation(node: ir.Node, builder: Builder) -> ir.Value:
    """``QLinearConcat``: the result's grid, and then each tensor with its grid."""
    grids = GridBuilder(builder)
    y_scale, y_zero, *rest = node.inputs
    if not rest or len(rest) % 3:
        raise Unfit("it has no tensors, or one without a grid")
    parts = [
        grids.dequantize(x, grids.grid(scale, zero))
        for x, scale, zero in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    ]
    real = builder.node("Concat", parts, _attributes(node))
    return grids.quantize(real, grids.grid(y_scale, y_zero), _dtype(y_zero, node, rest[2]))


def choice(node: ir.Node, builder: Builder) -> ir.Value:
    """``QLinearWhere``: a condition, two tensors with their grids, and the result's."""
    grids = GridBuilder(builder)
    condition, x, x_scale, x_zero, y, y_scale, y_zero, z_scale, z_zero = _inputs(node, 9)
    real = builder.node(
        "Where",
        [
            condition,
            grids.dequantize(x, grids.grid(x_scale, x_zero)),
            grids.dequantize(y, grids.grid(y_scale, y_zero)),
        ],
    )
    return grids.quantize(real, grids.grid(z_scale, z_zero), _dtype(z_zero, node, x_zero))


def standard(operator: str) -> Rule:
    """ONNX Runtime's own ``QuantizeLinear`` and ``DequantizeLinear``: the standard ones."""

    def rule(node: ir.Node, builder: Builder) -> ir.Value:
        scale = node.inputs[1] if len(node.inputs) > 1 else None
        if scale is None or scale.shape is None:
            raise Unfit("its scale has no known shape")
        return builder.node(operator, list(node.inputs), _attributes(node))

    return rule


def _accumulator(grids: GridBuilder, source: Grid, weights: Grid, axis: int) -> Grid:
    """The grid of sums of products, which biases are on."""
    scale = grids.product(source.scale, weights.scale)
    return Grid(scale, None, None if weights.axis is None else axis)


def _inputs(node: ir.Node, count: int) -> Sequence[ir.Value | None]:
    given = list(node.inputs)
    if len(given) > count:
        raise Unfit(f"it has more than {count} inputs")
    return [*given, *[None] * (count - len(given))]


def _attributes(node: ir.Node, *without: str) -> list[ir.Attr]:
    return [attribute for name, attribute in node.attributes.items() if name not in without]


def _dtype(
    zero_point: ir.Value | None, node: ir.Node, *alike: ir.Value | None
) -> ir.DataType | None:
    """The type of a node's result: that of its zero point, or of what has the same type."""
    for value in (zero_point, node.outputs[0], *alike):
        if value is not None and value.dtype is not None:
            return value.dtype
    return None


RULES: Mapping[tuple[str, str], Rule] = {
    ("", "QLinearConv"): convolution,
    ("", "QLinearMatMul"): matrix_product,
    (CONTRIB, "DequantizeLinear"): standard("DequantizeLinear"),
    (CONTRIB, "QGemm"): gemm,
    (CONTRIB, "QLinearAdd"): binary("Add"),
    (CONTRIB, "QLinearAveragePool"): unary("AveragePool"),
    (CONTRIB, "QLinearConcat"): concatenation,
    (CONTRIB, "QLinearConv"): convolution,
    (CONTRIB, "QLinearGlobalAveragePool"): unary("GlobalAveragePool"),
    (CONTRIB, "QLinearLeakyRelu"): unary("LeakyRelu"),
    (CONTRIB, "QLinearMul"): binary("Mul"),
    (CONTRIB, "QLinearSigmoid"): unary("Sigmoid"),
    (CONTRIB, "QLinearSoftmax"): softmax,
    (CONTRIB, "QLinearWhere"): choice,
    (CONTRIB, "QuantizeLinear"): standard("QuantizeLinear"),
}
