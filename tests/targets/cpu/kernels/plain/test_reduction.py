"""Reductions of every kind over any axes, fused with what is before and behind them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tvm import te, tirx, topi

from ingot.targets.cpu.machine import describe_cpu
from tests.examples import examples
from tests.targets.cpu.kernels.plain_functions import (
    assert_computes,
    normal,
    placeholder,
    prim_func,
    run,
)

PROPERTY = settings(max_examples=examples(30), deadline=None)
SIZES = st.one_of(st.integers(1, 10), st.sampled_from([13, 16, 24, 33, 65]))
BUILDS = ["generic", "haswell", "skylake-avx512"]
KINDS: dict[str, tuple[Callable, Callable]] = {
    "sum": (topi.sum, np.sum),
    "max": (topi.max, np.max),
    "min": (topi.min, np.min),
    "prod": (topi.prod, np.prod),
}


@st.composite
def reductions(draw: st.DrawFn) -> tuple[list[int], list[int], list[bool]]:
    shape = draw(st.lists(SIZES, min_size=1, max_size=4))
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    return (
        shape,
        sorted(axes),
        draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))),
    )


@PROPERTY
@example(given_axes=([33, 33, 65], [0, 1, 2], [False] * 3), kind="sum", keep=False)
@given(given_axes=reductions(), kind=st.sampled_from(list(KINDS)), keep=st.booleans())
def test_any_axes(
    given_axes: tuple[list[int], list[int], list[bool]], kind: str, keep: bool
) -> None:
    shape, axes, symbolic = given_axes
    reduce, reference = KINDS[kind]
    x = placeholder([f"d{axis}" if symbolic[axis] else size for axis, size in enumerate(shape)])
    # Products of many numbers near one neither vanish nor grow.
    values = normal(*shape) if kind != "prod" else 1 + normal(*shape) / 100
    terms = math.prod(shape[axis] for axis in axes)
    assert_computes(
        [x],
        reduce(x, axes, keep),
        [values],
        lambda x: reference(x.astype(np.float64), tuple(axes), keepdims=keep).astype(np.float32),
        magnitude=math.sqrt(terms) if kind == "sum" else 1.0,
    )


@PROPERTY
@given(given_axes=reductions())
def test_with_operators_before_and_behind(
    given_axes: tuple[list[int], list[int], list[bool]],
) -> None:
    shape, axes, symbolic = given_axes
    x = placeholder([f"d{axis}" if symbolic[axis] else size for axis, size in enumerate(shape)])
    squares = topi.sum(topi.multiply(x, x), axes, True)
    assert_computes(
        [x],
        topi.sqrt(topi.add(squares, te.const(1.0, "float32"))),
        [normal(*shape)],
        lambda x: np.sqrt((x.astype(np.float64) ** 2).sum(tuple(axes), keepdims=True) + 1),
    )


@pytest.mark.parametrize("axes", [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]])
def test_normalization_by_what_was_reduced(axes: list[int]) -> None:
    x = placeholder((5, 12, 35))
    mean = topi.divide(topi.sum(x, axes, True), te.const(7.0, "float32"))
    assert_computes(
        [x],
        topi.exp(topi.subtract(x, mean)),
        [normal(5, 12, 35)],
        lambda x: np.exp(x - x.sum(tuple(axes), keepdims=True) / 7),
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("last", [False, True])
def test_the_place_of_the_largest(axis: int, last: bool) -> None:
    x = placeholder((5, 12, 35))
    values = np.random.default_rng(0).integers(0, 5, (5, 12, 35)).astype(np.float32)

    def reference(x: np.ndarray) -> np.ndarray:
        if last:
            return (x.shape[axis] - 1 - np.flip(x, axis).argmax(axis)).astype(np.int32)
        return x.argmax(axis).astype(np.int32)

    assert_computes([x], topi.argmax(x, axis, False, last), [values], reference)


def test_two_sums_at_once() -> None:
    n = tirx.Var("n", "int64")
    x = te.placeholder((6, n), "float32", "x")
    k = te.reduce_axis((0, n), "k")

    def combine(a: tuple, b: tuple) -> tuple:
        return a[0] + b[0], a[1] + b[1]

    both = te.comm_reducer(combine, lambda *types: tuple(tirx.const(0, t) for t in types))
    sums = te.compute((6,), lambda i: both((x[i, k], x[i, k] * x[i, k]), axis=k), "sums")
    value = normal(6, 77)
    first, second = run(prim_func([x], list(sums)), [value], [((6,), "float32")] * 2)
    np.testing.assert_allclose(first, value.sum(1), atol=1e-4)
    np.testing.assert_allclose(second, (value * value).sum(1), atol=1e-4)


@PROPERTY
@given(
    batch=st.integers(1, 3), m=SIZES, n=SIZES, k=SIZES, turned=st.booleans(), symbolic=st.booleans()
)
def test_products_of_matrices(
    batch: int, m: int, n: int, k: int, turned: bool, symbolic: bool
) -> None:
    x = placeholder(("b", "m", "k") if symbolic else (batch, m, k))
    columns = tirx.Var("n", "int64") if symbolic else tirx.IntImm("int64", n)
    depth = te.reduce_axis((0, x.shape[2]), "depth")
    shape = (x.shape[0], columns, x.shape[2]) if turned else (x.shape[0], x.shape[2], columns)
    y = te.placeholder(shape, "float32", "y")
    product = te.compute(
        (x.shape[0], x.shape[1], columns),
        lambda b, i, j: te.sum(
            x[b, i, depth] * (y[b, j, depth] if turned else y[b, depth, j]), axis=depth
        ),
    )
    value = normal(batch, n, k, seed=1) if turned else normal(batch, k, n, seed=1)
    assert_computes(
        [x, y],
        topi.nn.relu(product),
        [normal(batch, m, k) / np.float32(np.sqrt(k)), value],
        lambda x, y: np.maximum(x @ (y.transpose(0, 2, 1) if turned else y), 0),
    )


@pytest.mark.parametrize(("kernel", "stride", "padding"), itertools.product([1, 3], [1, 2], [0, 1]))
def test_convolutions_as_plain_loops(kernel: int, stride: int, padding: int) -> None:
    x = placeholder((1, 9, 11, 6))
    w = te.placeholder((kernel, kernel, 6, 20), "float32", "w")
    result = topi.nn.conv2d_nhwc(x, w, stride, padding, 1)
    image, weights = normal(1, 9, 11, 6), normal(kernel, kernel, 6, 20, seed=1)

    def reference(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))
        return np.einsum("nyxcij,ijco->nyxo", windows[:, ::stride, ::stride], w)

    assert_computes([x, w], result, [image, weights], reference)


@pytest.mark.parametrize("mcpu", BUILDS)
@pytest.mark.parametrize("axis", [0, 1])
def test_each_vector_width(mcpu: str, axis: int) -> None:
    x = placeholder((53, 71))
    assert_computes(
        [x],
        topi.sum(x, axis),
        [normal(53, 71)],
        lambda x: x.sum(axis),
        cpu=describe_cpu(mcpu, threads=2),
    )


@pytest.mark.parametrize("axes", [[1], [2], [0, 2]])
def test_threads_change_no_bit(axes: list[int]) -> None:
    shape = (40, 61, 90)
    x = placeholder(shape)
    kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    function = prim_func([x], [topi.sum(x, axes)])
    results = [
        run(function, [normal(*shape)], [(kept, "float32")], threads=threads)[0].tobytes()
        for threads in (1, 2, 3)
    ]
    assert len(set(results)) == 1
