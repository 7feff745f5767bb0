"""Element-wise operations of the simulator against the TOSA reference model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.runtime.npu.command_stream.decode import CommandError
from ingot.runtime.npu.command_stream.elementwise import ElementWise, leading_zeros, leaky, shift
from ingot.runtime.npu.command_stream.registers import Rounding, Scale
from tests.runtime.npu.command_stream.regions import check_equal
from tests.runtime.npu.command_stream.tosa import ACCELERATORS, Graph, Value, attribute

accelerators = st.sampled_from(list(ACCELERATORS))
zero_points = st.integers(-128, 127)
multipliers = st.integers(1 << 30, (1 << 31) - 1)
roundings = st.sampled_from(["SINGLE_ROUND", "DOUBLE_ROUND"])
shapes = st.tuples(st.just(1), *[st.integers(1, 9)] * 2, st.integers(1, 40))
some = settings(max_examples=25, deadline=None)


@st.composite
def broadcast(draw):
    """A shape, and one that has 1 where it pleases."""
    shape = draw(shapes)
    kept = draw(st.tuples(*[st.booleans()] * 4))
    return shape, tuple(size if keep else 1 for size, keep in zip(shape, kept, strict=True))


def widened(graph: Graph, x: Value, zero_point: int, multiplier: int, shift: int) -> Value:
    return graph.rescale(x, multiplier, shift, input_zero_point=zero_point, dtype="int32")


@given(
    accelerators,
    st.sampled_from(["ADD", "SUB"]),
    broadcast(),
    st.booleans(),
    st.tuples(zero_points, zero_points, zero_points),
    st.tuples(multipliers, multipliers, multipliers),
    st.integers(49, 52),
)
@some
def test_quantized_addition(accelerator, code, pair, swapped, points, scales, shift):
    """Both operands to 20 fractional bits, their sum, and back: what TensorFlow Lite computes."""
    first, second = reversed(pair) if swapped else pair
    graph = Graph()
    a = widened(graph, graph.input(first), points[0], scales[0], 11)
    b = widened(graph, graph.input(second), points[1], scales[1], 11)
    total = graph.binary(code, a, b)
    check_equal(
        graph.output(graph.rescale(total, scales[2], shift, output_zero_point=points[2])),
        accelerator,
    )


@given(
    accelerators,
    broadcast(),
    st.booleans(),
    st.tuples(zero_points, zero_points, zero_points),
    multipliers,
    st.integers(32, 40),
    roundings,
)
@some
def test_quantized_multiplication(accelerator, pair, swapped, points, scale, shift, rounding):
    first, second = reversed(pair) if swapped else pair
    graph = Graph()
    a = widened(graph, graph.input(first), points[0], 1 << 30, 30)
    b = widened(graph, graph.input(second), points[1], 1 << 30, 30)
    product = graph.binary("MUL", a, b)
    result = graph.rescale(product, scale, shift, output_zero_point=points[2], rounding=rounding)
    check_equal(graph.output(result), accelerator)


@given(
    accelerators,
    st.sampled_from(["ADD", "SUB", "MUL", "MINIMUM", "MAXIMUM"]),
    broadcast(),
    st.booleans(),
    st.integers(15, 31),
)
@some
def test_32_bits(accelerator, code, pair, swapped, shift):
    first, second = reversed(pair) if swapped else pair
    graph = Graph()
    a = widened(graph, graph.input(first), 3, 1 << 30, shift)
    b = widened(graph, graph.input(second), -4, 1 << 30, 30)
    check_equal(graph.output(graph.binary(code, a, b)), accelerator)


@given(accelerators, st.sampled_from(["MINIMUM", "MAXIMUM"]), broadcast(), zero_points)
@some
def test_extremes_of_8_bits(accelerator, code, pair, zero_point):
    graph = Graph()
    a, b = (widened(graph, graph.input(shape), zero_point, 1 << 30, 30) for shape in pair)
    result = graph.rescale(graph.binary(code, a, b), 1 << 30, 30, output_zero_point=zero_point)
    check_equal(graph.output(result), accelerator)


@given(accelerators, shapes, st.integers(-128, 127), zero_points, multipliers)
@some
def test_constant_operand(accelerator, shape, value, zero_point, scale):
    graph = Graph()
    a = widened(graph, graph.input(shape), zero_point, 1 << 30, 30)
    b = graph.const(np.full((1, 1, 1, 1), value, np.int32))
    check_equal(graph.output(graph.rescale(graph.binary("MUL", a, b), scale, 37)), accelerator)


@given(accelerators, st.sampled_from(["ABS", "CLZ"]), shapes, st.integers(0, 2**32 - 1))
@some
def test_of_one_operand(accelerator, code, shape, seed):
    graph = Graph()
    x = graph.input(shape, "int32")
    values = np.random.default_rng(seed).integers(-(1 << 31) + 1, 1 << 31, shape, np.int32)
    check_equal(graph.output(graph.unary(code, x)), accelerator, [values >> (seed % 32)])


@given(accelerators, st.sampled_from(["left", "right", "rounded"]), shapes, st.integers(0, 99))
@some
def test_shifts(accelerator, kind, shape, seed):
    graph = Graph()
    values, amounts = (graph.input(shape, "int32") for _ in range(2))
    made = (
        attribute("LogicalLeftShift")
        if kind == "left"
        else attribute("ArithmeticRightShift", kind == "rounded")
    )
    code = "LOGICAL_LEFT_SHIFT" if kind == "left" else "ARITHMETIC_RIGHT_SHIFT"
    result = graph.op(code, [values, amounts], made, shape, "int32")
    random = np.random.default_rng(seed)
    check_equal(
        graph.output(result),
        accelerator,
        [
            random.integers(-(1 << 31), 1 << 31, shape, np.int32),
            random.integers(0, 32, shape, np.int32),
        ],
    )


@given(st.integers(-(1 << 31), (1 << 31) - 1))
def test_leading_zeros_are_those_of_the_bits(value):
    expected = 0 if value < 0 else 32 - value.bit_length()
    assert leading_zeros(np.array([value])).tolist() == [expected]


def test_a_leaky_slope_scales_negative_values():
    values = leaky(np.array([-100, -1, 0, 7]), Scale(1 << 30, 32), Rounding.NATURAL)
    assert values.tolist() == [-25, 0, 0, 7]


@pytest.mark.parametrize("amount", [-1, 32])
def test_shift_amounts_are_checked(amount):
    with pytest.raises(CommandError, match="less than 0 or more than 31"):
        shift(ElementWise.SHL, np.array([1]), np.array([amount]), Rounding.DOUBLE)
