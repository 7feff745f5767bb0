"""Each operator on the NPU computes what ONNX Runtime computes of the QDQ graph.

Where the rule says that a result is exact, it is equal; where a rounding may fall on the other side
of a tie, the results differ by one, seldom.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from ingot.targets.npu.composites import find_composites
from tests.targets.npu.quantized import Graph, compiled, executed, expected, ir_model

Build = Callable[[Graph], None]
ACCELERATORS = ("ethos-u55-256", "ethos-u85-256")


def conv(shape: tuple[int, ...], out: int, kernel: tuple[int, int] = (3, 3), **attributes) -> Build:
    def build(graph: Graph) -> None:
        x = graph.input(shape, 0.04, 3)
        per_group = shape[1] // attributes.get("group", 1)
        w, b = graph.weights(out, per_group, *kernel), graph.bias(out)
        y = graph.op("Conv", x, w, b, **attributes)
        graph.output(graph.op("Relu", y) if attributes.get("group", 1) == 1 else y, 0.9, -5)

    return build


def gemm(**attributes: int) -> Build:
    def build(graph: Graph) -> None:
        shape = (10, 24) if attributes.get("transB") else (24, 10)
        w = graph.weights(*shape, axis=1 - attributes.get("transB", 0))
        graph.output(graph.op("Gemm", graph.input((3, 24)), w, graph.bias(10), **attributes), 0.2)

    return build


def matmul_with_bias(graph: Graph) -> None:
    product = graph.op("MatMul", graph.input((1, 5, 16)), graph.weights(16, 12, axis=1))
    graph.output(graph.op("Add", product, graph.bias(12)), 0.2, 7)


def binary(kind: str, scales: tuple[float, float], other: tuple[int, ...] = (1, 8, 5, 7)) -> Build:
    def build(graph: Graph) -> None:
        x, y = graph.input((1, 8, 5, 7), scales[0], 4), graph.input(other, scales[1], -9)
        graph.output(graph.op(kind, x, y), 0.11, 2)

    return build


def unary(kind: str, *constants: float, scale: float = 0.05, **attributes: object) -> Build:
    def build(graph: Graph) -> None:
        x = graph.input((1, 8, 5, 7), scale, 5)
        values = [graph.constant(np.array(c, np.float32)) for c in constants]
        graph.output(graph.op(kind, x, *values, **attributes), 0.03, -20)

    return build


def gated(graph: Graph) -> None:
    x = graph.input((1, 8, 5, 7), 0.05)
    graph.output(graph.op("Mul", x, graph.op("Sigmoid", x)), 0.04, -100)


def moved(kind: str, shape: tuple[int, ...], *constants: object, **attributes: object) -> Build:
    def build(graph: Graph) -> None:
        x = graph.input(shape)
        values = [graph.constant(c) for c in constants]
        graph.output(graph.op(kind, x, *values, **attributes))

    return build


def pool(kind: str, scale: float, **attributes: object) -> Build:
    def build(graph: Graph) -> None:
        x = graph.input((1, 8, 8, 8), 0.05, -7)
        graph.output(graph.op(kind, x, **attributes), scale, 9)

    return build


def concat(scales: tuple[float, float], axis: int = 1) -> Build:
    def build(graph: Graph) -> None:
        parts = [graph.input((1, 8, 4, 4), scale, 0) for scale in scales]
        graph.output(graph.op("Concat", *parts, axis=axis), 0.05)

    return build


def split(graph: Graph) -> None:
    parts = graph.op("Split", graph.input((1, 12, 4, 4)), outputs=3, num_outputs=3, axis=1)
    between = [graph.between(part) for part in reversed(parts)]
    graph.output(graph.op("Concat", *between, axis=1))


def resize(mode: str, scale: float, **attributes: str) -> Build:
    def build(graph: Graph) -> None:
        x = graph.input((1, 8, 4, 6))
        scales = graph.constant(np.array([1, 1, scale, scale], np.float32))
        graph.output(graph.op("Resize", x, "", scales, mode=mode, **attributes))

    return build


EXACT = {
    "max_pool": moved("MaxPool", (1, 8, 8, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "max_pool, no stride fits": moved("MaxPool", (1, 8, 9, 8), kernel_shape=[2, 2], strides=[2, 2]),
    "reshape to rows": moved("Reshape", (1, 8, 4, 4), np.array([1, 128])),
    "reshape of rows to an image": moved("Reshape", (1, 128), np.array([1, 8, 4, 4])),
    "flatten": moved("Flatten", (1, 64, 1, 1)),
    "transpose": moved("Transpose", (1, 8, 4, 6), perm=[0, 1, 3, 2]),
    "transpose of rows": moved("Transpose", (6, 8), perm=[1, 0]),
    "slice": moved("Slice", (1, 8, 6, 6), np.array([1, -3]), np.array([5, 9]), np.array([1, 2])),
    "pad": moved("Pad", (1, 8, 4, 4), np.array([0, 0, 1, 2, 0, 0, 3, 0])),
    "pad channels": moved("Pad", (1, 8, 4, 4), np.array([0, 4, 0, 0, 0, 4, 0, 0])),
    "split": split,
    "concat": concat((0.05, 0.05)),
    "concat down": concat((0.05, 0.05), axis=2),
    "relu": unary("Relu"),
    "clip": unary("Clip", -1.0, 2.0),
    "leaky relu": unary("LeakyRelu", alpha=0.1),
    "sigmoid": unary("Sigmoid"),
    "tanh": unary("Tanh"),
    "hard swish": unary("HardSwish"),
    "hard sigmoid": unary("HardSigmoid"),
    "gelu": unary("Gelu"),
    "silu, in float": gated,
    "nearest": resize("nearest", 2.0),
    "nearest, floor": resize(
        "nearest", 2.0, coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
}
ROUNDED = {
    "conv": conv((1, 16, 9, 7), 24, pads=[1, 1, 1, 1]),
    "conv 1x1": conv((1, 16, 8, 8), 8, (1, 1)),
    "conv with strides that do not fit": conv(
        (1, 3, 10, 11), 8, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1]
    ),
    "conv of uneven padding": conv((1, 3, 9, 9), 8, strides=[2, 2], pads=[0, 0, 1, 1]),
    "conv, same": conv((1, 3, 9, 9), 8, strides=[2, 2], auto_pad="SAME_UPPER"),
    "conv with dilation": conv((1, 8, 12, 12), 8, dilations=[2, 2], pads=[2, 2, 2, 2]),
    "conv without bound of padding": conv((1, 8, 9, 9), 8, strides=[3, 2]),
    "depthwise": conv((1, 16, 8, 8), 16, group=16, pads=[1, 1, 1, 1]),
    "depthwise, strided": conv((1, 16, 9, 8), 16, group=16, strides=[2, 2], pads=[1, 1, 1, 1]),
    "depthwise, twice the channels": conv((1, 8, 8, 8), 16, group=8, pads=[1, 1, 1, 1]),
    "grouped": conv((1, 16, 8, 8), 24, group=4, pads=[1, 1, 1, 1]),
    "gemm": gemm(),
    "gemm, weights transposed": gemm(transB=1),
    "matmul with bias": matmul_with_bias,
    "add": binary("Add", (0.05, 0.031)),
    "add on one grid": binary("Add", (0.05, 0.05)),
    "add of a row of channels": binary("Add", (0.05, 0.02), (1, 8, 1, 1)),
    "sub": binary("Sub", (0.02, 0.07)),
    "mul": binary("Mul", (0.05, 0.031)),
    "mul by a gate per channel": binary("Mul", (0.05, 0.01), (1, 8, 1, 1)),
    "average pool": pool("AveragePool", 0.047, kernel_shape=[2, 2], strides=[2, 2]),
    "global average pool": pool("GlobalAveragePool", 0.013),
    "reduce mean": moved("ReduceMean", (1, 16, 7, 7), np.array([2, 3]), keepdims=0),
    "concat of two grids": concat((0.05, 0.11)),
}


def differences(graph: Graph, accelerator: str) -> np.ndarray:
    """By how many units the NPU's results differ."""
    inputs = graph.random_inputs()
    found = executed(compiled(graph, accelerator), inputs)
    wanted = expected(graph, inputs)
    assert [array.shape for array in found] == [array.shape for array in wanted]
    parts = [(a.astype(np.int64) - b).reshape(-1) for a, b in zip(found, wanted, strict=True)]
    return np.abs(np.concatenate(parts))


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("name", EXACT)
def test_what_only_moves_or_looks_up_is_equal(name: str, accelerator: str) -> None:
    graph = Graph(seed=1)
    EXACT[name](graph)
    assert differences(graph, accelerator).max() == 0


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("name", ROUNDED)
def test_what_rounds_differs_at_ties_alone(name: str, accelerator: str) -> None:
    graph = Graph(seed=2)
    ROUNDED[name](graph)
    found = differences(graph, accelerator)
    assert found.max() <= 1
    assert np.mean(found) <= 0.02


def test_a_linear_resize_of_the_u85_differs_at_ties_alone() -> None:
    graph = Graph(seed=3)
    x = graph.input((1, 8, 4, 6))
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    graph.output(graph.op("Resize", x, "", scales, mode="linear"), 0.047)
    found = differences(graph, "ethos-u85-256")
    assert found.max() <= 1
    assert np.mean(found) <= 0.02


def test_a_layer_whose_result_stays_float_gives_its_accumulators() -> None:
    graph = Graph(seed=4)
    product = graph.op(
        "Gemm", graph.input((1, 24)), graph.weights(10, 24), graph.bias(10), transB=1
    )
    graph.result(product)
    region = compiled(graph)
    assert region.outputs[0].dtype == "int32"
    inputs = graph.random_inputs()
    (sums,) = executed(region, inputs)
    (wanted,) = expected(graph, inputs)
    (composite,) = find_composites(ir_model(graph.model()).graph).composites
    scales = np.array(composite.layer.accumulator_scales)
    np.testing.assert_allclose(
        sums * scales, wanted, atol=3e-4
    )  # the bias is rounded to the accumulator


def test_random_layers_give_the_same_in_the_command_stream() -> None:
    for seed, build in enumerate((conv((1, 16, 9, 7), 24, pads=[1] * 4), EXACT["sigmoid"])):
        graph = Graph(seed=seed)
        build(graph)
        region, inputs = compiled(graph), graph.random_inputs()
        expected_outputs = executed(region, inputs)
        for a, b in zip(executed(region, inputs, "command-stream"), expected_outputs, strict=True):
            np.testing.assert_array_equal(a, b)
