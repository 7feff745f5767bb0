"""Products of bfloat16: those of the rounded values, summed in float32, at any shape."""

from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu.machine import describe_cpu
from tests.examples import examples
from tests.targets.cpu.assembly import accumulating_loops
from tests.targets.cpu.conftest import Compile, Compiled
from tests.targets.cpu.processors import AVX512

X86 = pytest.mark.skipif(machine_architecture() != "x86_64", reason="of x86 alone")


def rounded(array: np.ndarray) -> np.ndarray:
    return array.astype(ml_dtypes.bfloat16).astype(np.float32)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Graph:
    """A network whose products have bfloat16 on both sides."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def apply(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def rounded(self, value: str) -> str:
        short = self.apply("Cast", value, to=TensorProto.BFLOAT16)
        return self.apply("Cast", short, to=TensorProto.FLOAT)

    def weights(self, array: np.ndarray) -> str:
        name = f"w{len(self.initializers)}"
        self.initializers.append(
            helper.make_tensor(name, TensorProto.BFLOAT16, array.shape, array.ravel())
        )
        return self.apply("Cast", name, to=TensorProto.FLOAT)

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def model(self, result: str, shape: tuple[int | str, ...]) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        y = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", [x], [y], self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def assert_close(actual: np.ndarray, expected: np.ndarray, depth: int) -> None:
    """Sums in float32, in another order than NumPy's."""
    bound = 2.0**-23 * (2 + np.sqrt(depth)) * 4
    np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound * np.abs(expected).max())


def product(leading: tuple[int | str, ...], depth: int, columns: int) -> onnx.ModelProto:
    graph = Graph()
    y = graph.apply("MatMul", graph.rounded("x"), graph.weights(normal(depth, columns, seed=1)))
    return graph.model(y, (*leading, depth))


@X86
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [(1, 64, 48), (7, 33, 17), (49, 128, 96), (3, 1, 5), (130, 31, 130)],
)
def test_matmul(compile_for_cpu: Compile, rows: int, depth: int, columns: int) -> None:
    compiled = compile_for_cpu(product((rows,), depth, columns), AVX512)
    x = normal(rows, depth)
    (actual,) = compiled(x)
    assert "bfloat16_matmul" in compiled.kernels.values()
    expected = rounded(x).astype(np.float64) @ rounded(normal(depth, columns, seed=1))
    assert_close(actual, expected, depth)


@X86
@settings(max_examples=examples(5), deadline=None)
@given(rows=st.integers(1, 40), depth=st.integers(1, 80), columns=st.integers(1, 70))
def test_any_matmul(compile_for_cpu: Compile, rows: int, depth: int, columns: int) -> None:
    test_matmul(compile_for_cpu, rows, depth, columns)


@X86
def test_any_number_of_rows_with_one_compilation(compile_for_cpu: Compile) -> None:
    compiled = compile_for_cpu(product(("N", 3), 33, 50), AVX512)
    for rows in (1, 4, 29):
        x = normal(rows, 3, 33, seed=rows)
        (actual,) = compiled(x)
        assert_close(actual, rounded(x) @ rounded(normal(33, 50, seed=1)), 33)


@X86
def test_what_follows_is_in_the_kernel_and_is_rounded_once(compile_for_cpu: Compile) -> None:
    graph = Graph()
    y = graph.apply("MatMul", graph.rounded("x"), graph.weights(normal(64, 48, seed=1)))
    y = graph.apply("Relu", graph.apply("Add", y, graph.constant(normal(48, seed=2))))
    z = graph.apply("MatMul", graph.rounded(y), graph.weights(normal(48, 32, seed=3)))
    compiled = compile_for_cpu(graph.model(z, (9, 64)), AVX512)
    assert sorted(compiled.kernels.values()).count("bfloat16_matmul") == 2
    assert len(compiled.kernels) == 3, "the input's rounding is one more"
    x = normal(9, 64)
    middle = rounded(x) @ rounded(normal(64, 48, seed=1)) + normal(48, seed=2)
    expected = rounded(np.maximum(middle, 0)) @ rounded(normal(48, 32, seed=3))
    (actual,) = compiled(x)
    # A sum at the middle between two bfloat16 may be rounded to either.
    assert np.abs(actual - expected).max() < 0.01 * np.abs(expected).max()


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution of bfloat16."""

    image: tuple[int | str, int, int, int] = (1, 16, 9, 11)
    filters: int = 24
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def weights(self) -> np.ndarray:
        return normal(self.filters, self.image[1] // self.groups, *self.kernel, seed=1)

    def model(self) -> onnx.ModelProto:
        return self._model(rounds=True)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The same of rounded floats, by ONNX's own evaluator."""
        evaluator = onnx.reference.ReferenceEvaluator(self._model(rounds=False))
        return evaluator.run(None, {"x": rounded(x)})[0]

    def _model(self, *, rounds: bool) -> onnx.ModelProto:
        graph = Graph()
        x = graph.rounded("x") if rounds else "x"
        weights = graph.weights(self.weights) if rounds else graph.constant(rounded(self.weights))
        y = graph.apply(
            "Conv",
            x,
            weights,
            strides=self.strides,
            pads=self.pads,
            dilations=self.dilations,
            group=self.groups,
        )
        return graph.model(y, self.image)


@X86
@pytest.mark.parametrize(
    ("layer", "family"),
    [
        pytest.param(Layer(), "bfloat16_convolution", id="plain"),
        pytest.param(Layer(kernel=(1, 1), pads=(0,) * 4), "bfloat16_matmul", id="pointwise"),
        pytest.param(
            Layer(image=(1, 3, 17, 19), kernel=(7, 7), strides=(2, 2), pads=(3, 3, 3, 3)),
            "bfloat16_convolution",
            id="words that end within the next pixel",
        ),
        pytest.param(
            Layer(dilations=(1, 2), pads=(1, 2, 1, 2)), "bfloat16_convolution", id="dilated"
        ),
        pytest.param(
            Layer(image=(2, 64, 6, 6), filters=96, groups=2), "bfloat16_convolution", id="grouped"
        ),
        pytest.param(Layer(groups=16, filters=16), "depthwise", id="a filter per channel"),
        pytest.param(Layer(image=("N", 8, 5, 5)), "bfloat16_convolution", id="an open batch"),
    ],
)
def test_convolution(compile_for_cpu: Compile, layer: Layer, family: str) -> None:
    compiled = compile_for_cpu(layer.model(), AVX512)
    assert family in compiled.kernels.values()
    x = normal(*(size if isinstance(size, int) else 3 for size in layer.image))
    (actual,) = compiled(x)
    expected = layer.reference(x)
    assert_close(actual, expected, layer.weights[0].size)


@X86
def test_infinities_stay_under_their_windows(compile_for_cpu: Compile) -> None:
    """A word of the next pixel's values meets weights of zero, and zero times infinity is NaN."""
    layer = Layer(image=(1, 3, 5, 12), filters=16, kernel=(3, 3), pads=(0, 0, 0, 0))
    x = normal(1, 3, 5, 12)
    x[0, 0, 2, 7] = np.inf
    (actual,) = compile_for_cpu(layer.model(), AVX512)(x)
    beyond = np.isfinite(layer.reference(x))
    np.testing.assert_array_equal(np.isfinite(actual), beyond)
    assert beyond.any()


@X86
def test_infinities_stay_under_their_dilated_windows(compile_for_cpu: Compile) -> None:
    """ONNX's evaluator fills dilated windows up with zeros, and so is no reference for it."""
    image, pads = (1, 3, 5, 12), (0, 0, 0, 0)
    layer = Layer(image, filters=16, kernel=(3, 3), pads=pads, dilations=(1, 2))
    x = normal(*image)
    x[0, 0, 2, 7] = np.inf
    (actual,) = compile_for_cpu(layer.model(), AVX512)(x)
    finite = np.broadcast_to(~np.isin(np.arange(8), [7, 5, 3]), actual.shape)
    np.testing.assert_array_equal(np.isfinite(actual), finite)


@X86
def test_odd_rows_end_with_zero(compile_for_cpu: Compile) -> None:
    x = np.full((40, 33), np.nan, np.float32)
    compiled = compile_for_cpu(product((40,), 33, 16), AVX512)
    compiled(x)  # leaves what is no number in the memory of the copies
    assert np.isfinite(compiled(normal(40, 33))[0]).all()


@X86
def test_accumulators_stay_in_registers(compile_for_cpu: Compile) -> None:
    compiled = compile_for_cpu(product((64,), 256, 128), AVX512)
    loops = accumulating_loops(compiled.assembly, "zmm", "vdpbf16ps")
    assert loops
    for loop in loops:
        assert loop.spills == [], str(loop)


TILES = "sapphirerapids"


def multiplies_in_tiles(compiled: Compiled) -> bool:
    return "tdpbf16ps" in compiled.assembly.split()


@X86
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [
        pytest.param(16, 32, 16, id="one tile"),
        pytest.param(9, 6, 5, id="less than one in each direction"),
        pytest.param(33, 64, 33, id="one more row and column than two"),
        pytest.param(49, 96, 40, id="the last begins within the one before"),
        pytest.param(70, 21, 20, id="rows of no whole number of words"),
    ],
)
def test_matmul_in_tiles(compile_for_cpu: Compile, rows: int, depth: int, columns: int) -> None:
    compiled = compile_for_cpu(product((rows,), depth, columns), TILES)
    assert multiplies_in_tiles(compiled)
    x = normal(rows, depth)
    expected = rounded(x).astype(np.float64) @ rounded(normal(depth, columns, seed=1))
    assert_close(compiled(x)[0], expected, depth)


@X86
@pytest.mark.parametrize(
    ("layer", "tiles"),
    [
        pytest.param(Layer(), True, id="on to the next row"),
        pytest.param(Layer(image=(1, 8, 5, 40)), True, id="row by row"),
        pytest.param(Layer(image=(1, 16, 9, 34), strides=(2, 2)), True, id="every other pixel"),
        pytest.param(
            Layer(image=(1, 3, 9, 9), kernel=(3, 3)), False, id="words that end in the next pixel"
        ),
    ],
)
def test_convolution_in_tiles(compile_for_cpu: Compile, layer: Layer, tiles: bool) -> None:
    compiled = compile_for_cpu(layer.model(), TILES)
    assert multiplies_in_tiles(compiled) == tiles
    x = normal(*layer.image)
    assert_close(compiled(x)[0], layer.reference(x), layer.weights[0].size)


@X86
def test_another_processor_gives_the_same_bits(compile_for_cpu: Compile) -> None:
    model = product((9,), 48, 40)
    x = normal(9, 48)
    expected = compile_for_cpu(model, AVX512)(x)[0]
    # It is not this machine, so that its instructions are described in LLVM's language.
    without = ("amx-tile", "amx-int8", "amx-bf16")
    cpu = describe_cpu(TILES, threads=2, without=without)
    compiled = compile_for_cpu(model, cpu)
    assert not multiplies_in_tiles(compiled)
    np.testing.assert_array_equal(compiled(x)[0], expected)


@X86
def test_a_processor_without_multiplies_floats(compile_for_cpu: Compile) -> None:
    compiled = compile_for_cpu(product((8,), 32, 32), "x86-64-v3")
    assert "matmul" in compiled.kernels.values()
    x = normal(8, 32)
    assert_close(compiled(x)[0], rounded(x) @ rounded(normal(32, 32, seed=1)), 32)
