"""Moving data: transposes, joining, cutting, padding, gathering, resizing; compared bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te, tirx, topi

from ingot.targets.cpu.kernels.plain.plain import write_plain
from ingot.targets.cpu.machine import describe_cpu
from tests.examples import examples
from tests.targets.cpu.kernels.conftest import compile_kernel
from tests.targets.cpu.kernels.plain_functions import (
    assert_computes,
    normal,
    placeholder,
    prim_func,
    run,
)
from tests.targets.cpu.processors import PROCESSORS

PROPERTY = settings(max_examples=examples(25), deadline=None)
SIZES = st.one_of(st.integers(1, 10), st.sampled_from([13, 16, 24, 31, 33]))
SHAPES = st.lists(SIZES, min_size=1, max_size=4)
BUILDS = ["generic", "haswell", "skylake-avx512"]


@st.composite
def permutations(draw: st.DrawFn) -> tuple[list[int], list[int], list[bool]]:
    shape = draw(SHAPES)
    return (
        shape,
        draw(st.permutations(range(len(shape)))),
        draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))),
    )


@PROPERTY
@given(given_axes=permutations())
def test_transposes(given_axes: tuple[list[int], list[int], list[bool]]) -> None:
    shape, axes, symbolic = given_axes
    x = placeholder([f"d{axis}" if symbolic[axis] else size for axis, size in enumerate(shape)])
    assert_computes(
        [x], topi.transpose(x, axes), [normal(*shape)], lambda x: x.transpose(axes), rounding=0
    )


@pytest.mark.parametrize(
    ("rows", "columns"), [(33, 47), (8, 8), (16, 100), (9, 8), (7, 33), (33, 3)]
)
@pytest.mark.parametrize("symbolic", [False, True])
def test_a_transpose_with_operators_behind_it(rows: int, columns: int, symbolic: bool) -> None:
    x = placeholder(("m", "n") if symbolic else (rows, columns))
    y = te.placeholder((x.shape[1], x.shape[0]), "float32", "y")
    scaled = topi.multiply(topi.nn.relu(topi.transpose(x, [1, 0])), y)
    assert_computes(
        [x, y],
        scaled,
        [normal(rows, columns), normal(columns, rows, seed=1)],
        lambda x, y: np.maximum(x.T, 0) * y,
        rounding=0,
    )


def test_a_sum_of_two_transposes() -> None:
    x, y = (placeholder((40, 24), name=name) for name in "xy")
    total = topi.add(topi.transpose(x, [1, 0]), topi.transpose(y, [1, 0]))
    assert_computes(
        [x, y], total, [normal(40, 24), normal(40, 24, seed=1)], lambda x, y: x.T + y.T, rounding=0
    )


@pytest.mark.parametrize("mcpu", BUILDS)
def test_transposes_of_each_vector_width(mcpu: str) -> None:
    x = placeholder((2, 19, 37))
    assert_computes(
        [x],
        topi.transpose(x, [0, 2, 1]),
        [normal(2, 19, 37)],
        lambda x: x.transpose(0, 2, 1),
        rounding=0,
        cpu=describe_cpu(mcpu, threads=2),
    )


def test_transposes_of_other_types() -> None:
    values = np.random.default_rng(0).integers(-99, 99, (70, 21))
    for dtype in ("int64", "int32", "int8", "uint8"):
        x = placeholder((70, 21), dtype)
        assert_computes([x], topi.transpose(x), [values.astype(dtype)], np.transpose)


def test_a_reshape_between_transposes_is_none() -> None:
    x = placeholder((2, 9, 48))
    heads = topi.transpose(topi.reshape(x, (2, 9, 4, 12)), [0, 2, 1, 3])
    back = topi.reshape(topi.transpose(heads, [0, 2, 1, 3]), (2, 9, 48))
    assert_computes([x], back, [normal(2, 9, 48)], lambda x: x, rounding=0)


@PROPERTY
@given(shape=SHAPES, parts=st.lists(SIZES, min_size=2, max_size=4), data=st.data())
def test_concatenations(shape: list[int], parts: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    symbolic = data.draw(st.booleans())
    shapes = [[*shape[:axis], part, *shape[axis + 1 :]] for part in parts]
    tensors = []
    for number, sizes in enumerate(shapes):
        named = [
            f"part{number}" if symbolic and at == axis else size for at, size in enumerate(sizes)
        ]
        tensors.append(placeholder(named, name=f"x{number}"))
    values = [normal(*sizes, seed=number) for number, sizes in enumerate(shapes)]
    assert_computes(
        tensors,
        topi.nn.relu(topi.concatenate(tensors, axis)),
        values,
        lambda *x: np.maximum(np.concatenate(x, axis), 0),
        rounding=0,
    )


@PROPERTY
@given(shape=SHAPES, data=st.data())
def test_padding(shape: list[int], data: st.DataObject) -> None:
    sides = st.lists(st.integers(0, 3), min_size=len(shape), max_size=len(shape))
    before, after = data.draw(sides), data.draw(sides)
    x = placeholder(["n", *shape[1:]])
    assert_computes(
        [x],
        topi.exp(topi.nn.pad(topi.nn.relu(x), before, after, 0.5)),
        [normal(*shape)],
        lambda x: np.exp(
            np.pad(np.maximum(x, 0), list(zip(before, after, strict=True)), constant_values=0.5)
        ),
        rounding=1e-6,
    )


@PROPERTY
@given(shape=SHAPES, data=st.data())
def test_slices(shape: list[int], data: st.DataObject) -> None:
    begins = [data.draw(st.integers(0, size - 1)) for size in shape]
    ends = [
        data.draw(st.integers(begin + 1, size)) for begin, size in zip(begins, shape, strict=True)
    ]
    steps = [data.draw(st.integers(1, 3)) for _ in shape]
    x = placeholder(shape)
    places = tuple(map(slice, begins, ends, steps))
    assert_computes(
        [x], topi.strided_slice(x, begins, ends, steps), [normal(*shape)], lambda x: x[places],
        rounding=0,
    )  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_splits(axis: int) -> None:
    x = placeholder((6, 12, 18))
    outputs = topi.split(x, 3, axis)
    value = normal(6, 12, 18)
    expected = np.split(value, 3, axis)
    results = run(prim_func([x], outputs), [value], [(part.shape, "float32") for part in expected])
    for actual, right in zip(results, expected, strict=True):
        np.testing.assert_array_equal(actual, right)


@PROPERTY
@given(shape=st.lists(SIZES, min_size=2, max_size=3), count=st.integers(1, 7), data=st.data())
def test_gathers(shape: list[int], count: int, data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    x, numbers = placeholder(shape), placeholder((count,), "int64", "numbers")
    which = np.random.default_rng(0).integers(-2, shape[axis] + 2, count)
    assert_computes(
        [x, numbers],
        topi.take(x, numbers, axis=axis, mode="clip"),
        [normal(*shape), which],
        lambda x, numbers: np.take(x, numbers, axis, mode="clip"),
        rounding=0,
    )


@PROPERTY
@given(shape=SHAPES, data=st.data())
def test_repetitions(shape: list[int], data: st.DataObject) -> None:
    times = [data.draw(st.integers(1, 3)) for _ in shape]
    x = placeholder(shape)
    assert_computes(
        [x], topi.tile(x, times), [normal(*shape)], lambda x: np.tile(x, times), rounding=0
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_reversal(axis: int) -> None:
    x = placeholder((5, 6, 33))
    assert_computes(
        [x], topi.flip(x, axis), [normal(5, 6, 33)], lambda x: np.flip(x, axis), rounding=0
    )


def test_resizing_to_the_nearest() -> None:
    x = placeholder((1, 5, 7, 24))
    resized = topi.image.resize2d(
        x, [0.0] * 4, (10, 21), "NHWC", "nearest_neighbor", "asymmetric", "floor"
    )
    assert_computes(
        [x], resized, [normal(1, 5, 7, 24)], lambda x: x.repeat(2, 1).repeat(3, 2), rounding=0
    )


def test_a_lower_triangle() -> None:
    x = placeholder((2, 21, 21))
    assert_computes(
        [x], topi.trilu(x, te.const(0), False), [normal(2, 21, 21)], np.tril, rounding=0
    )


def test_threads_change_no_bit() -> None:
    x = placeholder((3, 301, 257))
    function, values = prim_func([x], [topi.transpose(x, [0, 2, 1])]), normal(3, 301, 257)
    for threads in (1, 2, 3):
        (result,) = run(function, [values], [((3, 257, 301), "float32")], threads=threads)
        np.testing.assert_array_equal(result, values.transpose(0, 2, 1))


@pytest.mark.parametrize("processor", ["avx2", "avx512"])
def test_transposes_compile_to_shuffles(processor: str) -> None:
    x = placeholder((64, 64))
    cpu = PROCESSORS[processor]
    kernel = compile_kernel(write_plain(prim_func([x], [topi.transpose(x)]), cpu), cpu)
    assert "vunpck" in kernel.assembly
    assert isinstance(x.shape[0], tirx.IntImm)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_transpose_whose_rows_are_joined_goes_in_blocks(batch: int) -> None:
    x = placeholder((batch, 40, 24))
    joined = topi.reshape(topi.transpose(x, [0, 2, 1]), (batch, 960))
    assert_computes(
        [x],
        joined,
        [normal(batch, 40, 24)],
        lambda x: x.transpose(0, 2, 1).reshape(batch, 960),
        rounding=0,
    )


def test_a_factor_that_recurs_along_joined_rows() -> None:
    x, factors = placeholder((6, 320)), placeholder((40,), name="factors")
    product = te.compute((6, 320), lambda n, i: x[n, i] * factors[i % 40], name="product")
    values = [normal(6, 320), normal(40, seed=1)]
    assert_computes([x, factors], product, values, lambda x, f: x * np.tile(f, 8), rounding=0)
