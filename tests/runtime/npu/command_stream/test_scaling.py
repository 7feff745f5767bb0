"""Scaling, rounding, clipping and tables of the simulator."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.runtime.npu.command_stream.decode import CommandError
from ingot.runtime.npu.command_stream.registers import (
    Accumulator,
    Activation,
    Clip,
    FeatureMap,
    Layout,
    Rounding,
)
from ingot.runtime.npu.command_stream.scaling import (
    activate,
    check_accumulators,
    scale,
    scale_records,
)
from tests.runtime.npu.command_stream.regions import check_equal
from tests.runtime.npu.command_stream.tosa import ACCELERATORS, Graph

accelerators = st.sampled_from(list(ACCELERATORS))
zero_points = st.integers(-128, 127)
shapes = st.tuples(st.just(1), *[st.integers(1, 9)] * 2, st.integers(1, 40))
values = st.integers(-(1 << 39), (1 << 39) - 1)
some = settings(max_examples=25, deadline=None)


def result_of(dtype: str, zero_point: int = 0) -> FeatureMap:
    return FeatureMap(
        "OFM", 1, (0, 0, 0, 0), 1, 1, 1, (1, 1, 1), np.dtype(dtype), Layout.NHWC, zero_point
    )


@given(st.lists(values, min_size=1), st.integers(0, (1 << 32) - 1), st.integers(0, 63))
def test_natural_rounding_is_to_the_nearest_half_up(numbers, multiplier, shift):
    exact = [Fraction(number * multiplier, 1 << shift) for number in numbers]
    expected = [floor(value + Fraction(1, 2)) for value in exact]
    if max(map(abs, expected)) >= 1 << 62:
        return
    actual = scale(np.array(numbers), multiplier, shift, Rounding.NATURAL)
    assert actual.tolist() == expected


@given(st.lists(values, min_size=1), st.integers(0, (1 << 32) - 1), st.integers(10, 63))
def test_truncation_is_toward_zero(numbers, multiplier, shift):
    expected = [int(Fraction(number * multiplier, 1 << shift)) for number in numbers]
    actual = scale(np.array(numbers), multiplier, shift, Rounding.TRUNCATE)
    assert actual.tolist() == expected


@given(
    st.lists(st.integers(-(1 << 31) + 1, (1 << 31) - 1), min_size=1),
    st.integers(1 << 30, (1 << 31) - 1),
    st.integers(32, 62),
)
def test_double_rounding_is_gemmlowps(numbers, multiplier, shift):
    """Doubled high half, half up; then the rest of the shift, half away from zero."""
    expected = []
    for number in numbers:
        high = (number * multiplier + (1 << 30)) >> 31
        exact = Fraction(high, 1 << (shift - 31))
        nearest = floor(abs(exact) + Fraction(1, 2))
        expected.append(nearest if exact >= 0 else -nearest)
    actual = scale(np.array(numbers), multiplier, shift, Rounding.DOUBLE)
    assert actual.tolist() == expected


@given(
    accelerators,
    shapes,
    st.sampled_from(
        [
            ("int8", "int8"),
            ("int8", "int16"),
            ("int8", "int32"),
            ("int16", "int8"),
            ("int16", "int16"),
            ("int32", "int8"),
            ("int32", "int16"),
        ]
    ),
    st.sampled_from(["SINGLE_ROUND", "DOUBLE_ROUND"]),
    st.integers(1 << 30, (1 << 31) - 1),
    st.tuples(zero_points, zero_points),
    st.data(),
)
@some
def test_rescale(accelerator, shape, dtypes, rounding, multiplier, points, data):
    source, target = dtypes
    bits = {"int8": 8, "int16": 16, "int32": 32}
    # TOSA leaves a value undefined that does not fit the shift's bits.
    least = max(bits[source] + 2, 28 + bits[source] - bits[target])
    shift = data.draw(st.integers(least, min(62, least + 6)))
    graph = Graph()
    x = graph.input(shape, source)
    result = graph.rescale(
        x,
        multiplier,
        shift,
        input_zero_point=points[0] if source == "int8" else 0,
        output_zero_point=points[1] if target == "int8" else 0,
        dtype=target,
        rounding=rounding,
    )
    check_equal(graph.output(result), accelerator)


@given(accelerators, shapes, zero_points, st.integers(0, 255), st.booleans())
@some
def test_unsigned(accelerator, shape, zero_point, unsigned_point, narrowing):
    points = (unsigned_point, zero_point)
    kinds = ("uint8", "int8")
    if narrowing:
        points, kinds = points[::-1], kinds[::-1]
    graph = Graph()
    result = graph.rescale(
        graph.input(shape, kinds[0]),
        1 << 30,
        30,
        input_zero_point=points[0],
        output_zero_point=points[1],
        dtype=kinds[1],
    )
    check_equal(graph.output(result), accelerator)


@given(accelerators, shapes, st.integers(0, 2**32 - 1))
@some
def test_a_scale_for_each_channel(accelerator, shape, seed):
    random = np.random.default_rng(seed)
    graph = Graph()
    result = graph.rescale(
        graph.input(shape),
        random.integers(1 << 30, (1 << 31) - 1, shape[3]),
        random.integers(29, 33, shape[3]),
        input_zero_point=int(random.integers(-128, 128)),
        output_zero_point=int(random.integers(-128, 128)),
    )
    check_equal(graph.output(result), accelerator)


@given(
    accelerators, shapes, st.sampled_from(["int8", "int16"]), st.tuples(zero_points, zero_points)
)
@some
def test_clamp(accelerator, shape, dtype, limits):
    low, high = sorted(limits)
    factor = 200 if dtype == "int16" else 1
    graph = Graph()
    x = graph.input(shape, dtype)
    check_equal(graph.output(graph.clamp(x, low * factor, high * factor)), accelerator)


@given(accelerators, shapes, st.integers(0, 2**32 - 1))
@some
def test_table_of_8_bits(accelerator, shape, seed):
    table = np.random.default_rng(seed).integers(-128, 128, 256, np.int8)
    graph = Graph()
    check_equal(graph.output(graph.table(graph.input(shape), table)), accelerator)


@given(accelerators, shapes, st.integers(0, 2**32 - 1))
@some
def test_table_of_16_bits(accelerator, shape, seed):
    random = np.random.default_rng(seed)
    table = np.cumsum(random.integers(-60, 127, 513)).clip(-32768, 32767).astype(np.int16)
    graph = Graph()
    looked_up = graph.table(graph.input(shape, "int16"), table)
    result = graph.rescale(looked_up, 1 << 14, 21, dtype="int16", scale32=False)
    check_equal(graph.output(result), accelerator)


def test_tables_of_several_layers_do_not_mix():
    random = np.random.default_rng(3)
    graph = Graph()
    x = graph.input((1, 5, 6, 16))
    for _ in range(3):
        weights = random.integers(-127, 128, (16, 1, 1, 16), np.int8)
        x = graph.rescale(graph.conv2d(x, weights, np.zeros(16, np.int32)), 1 << 30, 40)
        x = graph.table(x, random.permutation(np.arange(-128, 128)).astype(np.int8))
    graph.output(x)
    for accelerator in ACCELERATORS:
        check_equal(graph, accelerator)


def test_records_hold_bias_multiplier_and_shift():
    data = bytes.fromhex("feffffffff 78563412 21") + bytes.fromhex("0100000080 ffffffff 3f")
    biases, multipliers, shifts = scale_records(np.frombuffer(data, np.uint8), 2)
    assert biases.tolist() == [-2, 1 - (1 << 39)]
    assert multipliers.tolist() == [0x12345678, 0xFFFFFFFF]
    assert shifts.tolist() == [0x21, 0x3F]


def test_records_are_checked():
    with pytest.raises(CommandError, match="need 20 bytes"):
        scale_records(np.zeros(16, np.uint8), 2)
    with pytest.raises(CommandError, match="bits that mean nothing"):
        scale_records(np.full(10, 0xFF, np.uint8), 1)


@pytest.mark.parametrize(
    ("accumulator", "value", "error"),
    [
        (Accumulator.INT32, 1 << 31, "32 bits"),
        (Accumulator.INT32, -(1 << 31) - 1, "32 bits"),
        (Accumulator.INT40, 1 << 39, "40 bits"),
        (Accumulator.FLOAT16, 0, "floating point"),
    ],
)
def test_sums_fit_their_accumulators(accumulator, value, error):
    with pytest.raises(CommandError, match=error):
        check_accumulators(np.array([value]), accumulator)


def test_accumulators_take_what_fits():
    check_accumulators(np.array([-(1 << 31), (1 << 31) - 1]), Accumulator.INT32)
    check_accumulators(np.array([-(1 << 39), (1 << 39) - 1]), Accumulator.INT40)


@pytest.mark.parametrize(
    ("dtype", "clip", "limits", "expected"),
    [
        ("i1", Clip.OFM_PRECISION, (0xFFF0, 0x0010), [-16, 16]),
        ("u1", Clip.OFM_PRECISION, (0x0003, 0x00F0), [3, 240]),
        ("<i2", Clip.OFM_PRECISION, (0x8000, 0x7FFF), [-999, 999]),
        ("<i2", Clip.FORCE_INT8, (0x8000, 0x7FFF), [-128, 127]),
        ("<i2", Clip.FORCE_UINT8, (0x0000, 0xFFFF), [0, 255]),
    ],
)
def test_results_are_clipped_to_range_and_limits(dtype, clip, limits, expected):
    activation = Activation(None, clip, *limits)
    actual = activate(np.array([-999, 999]), result_of(dtype), activation, None)
    assert actual.tolist() == expected


def test_tables_of_words_are_looked_up_with_8_bits():
    table = np.arange(256, dtype="<i4") * -1000
    activation = Activation(0, Clip.FORCE_INT8, 0x8000, 0x7FFF)
    actual = activate(np.array([-200, 3, 127]), result_of("<i4"), activation, table.view(np.uint8))
    assert actual.tolist() == [0, -131000, -255000]


@pytest.mark.parametrize(
    ("limits", "value", "error"),
    [((0, 0x7FFF), 0, "has limits"), ((0x8000, 0x7FFF), 1 << 31, "does not fit 32 bits")],
)
def test_results_of_32_bits_are_checked(limits, value, error):
    with pytest.raises(CommandError, match=error):
        activate(
            np.array([value]),
            result_of("<i4"),
            Activation(None, Clip.OFM_PRECISION, *limits),
            None,
        )


def test_reversed_limits_are_an_error():
    with pytest.raises(CommandError, match="at least"):
        activate(np.array([0]), result_of("i1"), Activation(None, Clip.OFM_PRECISION, 5, 4), None)
