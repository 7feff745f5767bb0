"""Values in bfloat16 stay so from kernel to kernel: what moves, normalizes, reduces or attends."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

from ingot.runtime.cpu_features import machine_architecture
from tests.targets.cpu.conftest import Compile, Compiled
from tests.targets.cpu.kernels.words.test_bfloat16 import Graph, normal, rounded
from tests.targets.cpu.processors import AVX512

pytestmark = pytest.mark.skipif(machine_architecture() != "x86_64", reason="of x86 alone")


def casts(compiled: Compiled) -> list[str]:
    """Kernels that do nothing but convert."""
    return [name for name in compiled.kernels if re.fullmatch(r"(fused_)?(cast\d*_?)+", name)]


def evaluated(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What ONNX's own evaluator makes of a model whose casts it knows."""
    return onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]


def assert_like(compiled: Compiled, model: onnx.ModelProto, x: np.ndarray) -> None:
    expected = evaluated(model, x).astype(np.float64)
    (actual,) = compiled(x)
    noise = np.sqrt(np.mean((actual - expected) ** 2))
    # A sum near the middle between two bfloat16 may be rounded to either of them.
    assert noise <= 2.0**-9 * np.sqrt(np.mean(expected**2))


def product(graph: Graph, value: str, rows: int, columns: int, seed: int) -> str:
    weights = normal(rows, columns, seed=seed) / np.sqrt(rows)
    return graph.apply("MatMul", graph.rounded(value), graph.weights(rounded(weights)))


def test_moves_between_products(compile_for_cpu: Compile) -> None:
    graph = Graph()
    y = product(graph, "x", 32, 48, 1)
    y = graph.apply("Reshape", graph.rounded(y), graph.constant(np.array([2, 5, 3, 16])))
    y = graph.apply("Transpose", graph.rounded(y), perm=[0, 2, 1, 3])
    both = graph.rounded(y)
    y = graph.apply("Concat", both, both, axis=-1)
    model = graph.model(product(graph, y, 32, 24, 2), (2, 5, 32))
    compiled = compile_for_cpu(model, AVX512)
    assert len(casts(compiled)) == 1, "the input's"
    assert_like(compiled, model, normal(2, 5, 32))


@pytest.mark.parametrize("operator", ["LayerNormalization", "RMSNormalization"])
def test_norms_read_and_write_it(compile_for_cpu: Compile, operator: str) -> None:
    graph = Graph()
    scale = [graph.constant(1 + 0.1 * normal(48, seed=3))]
    y = product(graph, "x", 32, 48, 1)
    y = graph.apply(operator, graph.rounded(y), *scale, axis=-1)
    model = graph.model(product(graph, y, 48, 24, 2), (7, 32))
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", 23))
    compiled = compile_for_cpu(model, AVX512)
    assert len(casts(compiled)) == 1, "the input's"
    assert "norm" in compiled.kernels.values()
    assert_like(compiled, model, normal(7, 32))


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_reads_and_writes_it(compile_for_cpu: Compile, heads: int) -> None:
    graph = Graph()

    def split(value: str, order: list[int]) -> str:
        shape = graph.constant(np.array([2, 9, heads, 32 // heads]))
        value = graph.apply("Reshape", graph.rounded(value), shape)
        return graph.rounded(graph.apply("Transpose", graph.rounded(value), perm=order))

    query, key, value = (product(graph, "x", 32, 32, seed) for seed in (1, 2, 3))
    scores = graph.apply("MatMul", split(query, [0, 2, 1, 3]), split(key, [0, 2, 3, 1]))
    weights = graph.apply("Softmax", scores, axis=-1)
    y = graph.apply("MatMul", weights, split(value, [0, 2, 1, 3]))
    y = graph.apply("Transpose", graph.rounded(y), perm=[0, 2, 1, 3])
    y = graph.apply("Reshape", graph.rounded(y), graph.constant(np.array([2, 9, 32])))
    model = graph.model(product(graph, y, 32, 16, 4), (2, 9, 32))
    compiled = compile_for_cpu(model, AVX512)
    assert len(casts(compiled)) == 1, "the input's"
    assert "attention" in compiled.kernels.values()
    assert len(compiled.kernels) <= 6, compiled.kernels
    assert_like(compiled, model, normal(2, 9, 32))


def test_images_are_convolved_pooled_and_reduced_in_it(compile_for_cpu: Compile) -> None:
    graph = Graph()

    def convolution(value: str, weights: np.ndarray, **attributes: object) -> str:
        weights = rounded(weights / np.sqrt(weights[0].size))
        return graph.apply("Conv", value, graph.weights(weights), **attributes)

    y = convolution(
        graph.rounded("x"), normal(24, 3, 3, 3, seed=1), strides=[2, 2], pads=[1, 1, 1, 1]
    )
    y = graph.apply("MaxPool", graph.rounded(y), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    y = convolution(graph.rounded(y), normal(24, 1, 3, 3, seed=2), group=24, pads=[1, 1, 1, 1])
    first = graph.rounded(y)
    y = graph.apply("Add", convolution(first, normal(24, 24, 1, 1, seed=3)), first)
    y = graph.apply("GlobalAveragePool", graph.rounded(graph.apply("Relu", y)))
    y = convolution(graph.rounded(y), normal(10, 24, 1, 1, seed=4))
    model = graph.model(y, (2, 3, 16, 16))
    compiled = compile_for_cpu(model, AVX512)
    assert len(casts(compiled)) == 1, "the input's"
    families = {"depthwise", "bfloat16_convolution", "bfloat16_matmul", "max_pooling", "reduction"}
    assert set(compiled.kernels.values()) >= families
    assert_like(compiled, model, normal(2, 3, 16, 16))


def test_a_value_that_is_read_in_float32_too_stays(compile_for_cpu: Compile) -> None:
    """Rounding is not to reach a reader that has the value before it."""
    graph = Graph()
    y = product(graph, "x", 32, 32, 1)
    rounded_too = product(graph, y, 32, 32, 2)
    model = graph.model(graph.apply("Add", rounded_too, y), (5, 32))
    assert_like(compile_for_cpu(model, AVX512), model, normal(5, 32))
