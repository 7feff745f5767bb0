"""Scheduled code computes what ONNX Runtime does, for any shape, edge and epilogue."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ingot.reference.session import Reference
from ingot.runtime.cpu_features import machine_architecture
from tests.examples import examples
from tests.targets.cpu.conftest import Run

# Each example is a compilation.
PROPERTY = settings(max_examples=examples(15), deadline=None)
SIZES = st.sampled_from([1, 2, 3, 7, 8, 13, 16, 24, 33])
BUILDS = [
    pytest.param(
        mcpu,
        marks=pytest.mark.skipif(
            machine_architecture() != "x86_64", reason="names x86's processors"
        ),
    )
    for mcpu in ("x86-64", "haswell", "skylake-avx512")
]
EPILOGUES = ["none", "relu", "clip", "bias and relu", "residual", "sigmoid times itself"]


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def weight(*shape: int, terms: int) -> np.ndarray:
    """Weights that make sums of ``terms`` products with unit-variance inputs unit-variance too."""
    return array(*shape, seed=1) / np.float32(np.sqrt(terms))


def network(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int | str, ...]],
    weights: dict[str, np.ndarray],
    rank: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.ascontiguousarray(w), n) for n, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def epilogue_nodes(kind: str, channels: int) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Nodes from ``c`` to ``y`` for a tensor [N, channels, H, W]."""
    make = helper.make_node
    bias = {"bias": array(channels, 1, 1, seed=5)}
    return {
        "none": ([make("Identity", ["c"], ["y"], "identity")], {}),
        "relu": ([make("Relu", ["c"], ["y"], "relu")], {}),
        "clip": (
            [make("Clip", ["c", "low", "high"], ["y"], "clip")],
            {"low": np.float32(0), "high": np.float32(0.5)},
        ),
        "bias and relu": (
            [make("Add", ["c", "bias"], ["b"], "bias"), make("Relu", ["b"], ["y"], "relu")],
            bias,
        ),
        "residual": (
            [make("Add", ["c", "c"], ["s"], "sum"), make("Relu", ["s"], ["y"], "relu")],
            {},
        ),
        "sigmoid times itself": (
            [make("Sigmoid", ["c"], ["s"], "sigmoid"), make("Mul", ["c", "s"], ["y"], "mul")],
            {},
        ),
    }[kind]


def assert_agrees(run: Run, model: onnx.ModelProto, *inputs: np.ndarray, **options: Any) -> None:
    names = [value.name for value in model.graph.input]
    expected = Reference(model).run(dict(zip(names, inputs, strict=True)))["y"]
    (actual,) = run(model, *inputs, **options)
    assert actual.shape == expected.shape
    # Terms have unit variance and so have sums (see ``weight``): rounding is on the scale of one
    # even where an epilogue or cancellation leaves smaller results.
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    assert np.abs(actual - expected).max(initial=0) <= 1e-5 * scale


@PROPERTY
@given(
    channels=SIZES,
    filters=SIZES,
    size=st.integers(3, 20),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    pads=st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 1, 1)]),
    epilogue=st.sampled_from(EPILOGUES),
)
def test_convolution(run_on_cpu: Run, channels: int, filters: int, size: int, kernel: int,
                     stride: int, pads: tuple[int, ...], epilogue: str) -> None:  # fmt: skip
    nodes, weights = epilogue_nodes(epilogue, filters)
    conv = helper.make_node("Conv", ["x", "w"], ["c"], "conv", strides=[stride] * 2, pads=pads)
    terms = channels * kernel * kernel
    weights["w"] = weight(filters, channels, kernel, kernel, terms=terms)
    model = network([conv, *nodes], {"x": (1, channels, size, size)}, weights, rank=4)
    assert_agrees(run_on_cpu, model, array(1, channels, size, size))


@PROPERTY
@given(groups=st.integers(2, 9), per_group=st.sampled_from([1, 1, 2, 3]), size=st.integers(3, 17))
def test_grouped_and_depthwise_convolution(
    run_on_cpu: Run, groups: int, per_group: int, size: int
) -> None:
    channels = groups * per_group
    weights = {"w": weight(channels, per_group, 3, 3, terms=per_group * 9)}
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "conv", group=groups, pads=[1] * 4)
    model = network([conv], {"x": (2, channels, size, size)}, weights, rank=4)
    assert_agrees(run_on_cpu, model, array(2, channels, size, size))


@PROPERTY
@given(m=SIZES, n=SIZES, k=SIZES, with_bias=st.booleans())
def test_matmul(run_on_cpu: Run, m: int, n: int, k: int, with_bias: bool) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p" if with_bias else "y"], "matmul")]
    if with_bias:
        nodes.append(helper.make_node("Add", ["p", "b"], ["y"], "add"))
    weights = {"w": weight(k, n, terms=k), "b": array(n, seed=2)}
    model = network(nodes, {"x": (m, k)}, weights, rank=2)
    assert_agrees(run_on_cpu, model, array(m, k))


@PROPERTY
@given(batch=st.integers(1, 3), m=SIZES, n=SIZES, k=SIZES)
def test_batched_matmul_of_two_activations(
    run_on_cpu: Run, batch: int, m: int, n: int, k: int
) -> None:
    model = network(
        [helper.make_node("MatMul", ["a", "b"], ["y"], "matmul")],
        {"a": ("N", m, k), "b": ("N", k, n)},
        {},
        rank=3,
    )
    assert_agrees(run_on_cpu, model, array(batch, m, k), weight(batch, k, n, terms=k))


@PROPERTY
@given(
    operator=st.sampled_from(["MaxPool", "AveragePool"]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    pad=st.integers(0, 1),
    size=st.integers(3, 18),
)
def test_pooling(
    run_on_cpu: Run, operator: str, kernel: int, stride: int, pad: int, size: int
) -> None:
    node = helper.make_node(
        operator, ["x"], ["y"], "pool", kernel_shape=[kernel] * 2, strides=[stride] * 2,
        pads=[min(pad, kernel - 1)] * 4,
    )  # fmt: skip
    model = network([node], {"x": (1, 5, size, size)}, {}, rank=4)
    assert_agrees(run_on_cpu, model, array(1, 5, size, size))


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceMax"])
@pytest.mark.parametrize("axes", [[-1], [1], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 13), (4, 8, 16)])
def test_reductions(
    run_on_cpu: Run, operator: str, axes: list[int], shape: tuple[int, ...]
) -> None:
    node = helper.make_node(operator, ["x", "axes"], ["y"], "reduce")
    weights = {"axes": np.array(axes, np.int64)}
    assert_agrees(run_on_cpu, network([node], {"x": shape}, weights, rank=3), array(*shape))


@pytest.mark.parametrize("width", [1, 5, 8, 100])
def test_softmax_and_layer_norm(run_on_cpu: Run, width: int) -> None:
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["n"], "norm"),
        helper.make_node("Softmax", ["n"], ["y"], "softmax", axis=-1),
    ]
    weights = {"scale": array(width, seed=1), "bias": array(width, seed=2)}
    model = network(nodes, {"x": ("N", 3, width)}, weights, rank=3)
    assert_agrees(run_on_cpu, model, array(2, 3, width))


@pytest.mark.parametrize("mcpu", BUILDS)
def test_each_vector_width(run_on_cpu: Run, mcpu: str) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "m"], ["y"], "matmul"),
    ]
    weights = {"w": weight(16, 8, 3, 3, terms=72), "m": weight(16, 24, terms=16)}
    model = network(nodes, {"x": (1, 8, 16, 16)}, weights, rank=4)
    assert_agrees(run_on_cpu, model, array(1, 8, 16, 16), mcpu=mcpu)
