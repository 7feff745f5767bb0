"""Elements computed one by one: any shape, broadcast operands, symbolic extents, types, tails."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from tvm import te, tirx, topi

from ingot.targets.cpu.kernels.plain.elementwise import Row
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load
from ingot.targets.cpu.kernels.writing.emission import prim_func as finished
from ingot.targets.cpu.machine import describe_cpu
from tests.examples import examples
from tests.targets.cpu.kernels.conftest import compile_kernel
from tests.targets.cpu.kernels.plain_functions import (
    assert_computes,
    like,
    normal,
    placeholder,
    prim_func,
    run,
)

# Each example is a compilation.
PROPERTY = settings(max_examples=examples(25), deadline=None)
SIZES = st.one_of(st.integers(1, 9), st.sampled_from([13, 16, 24, 31, 33, 65]))
BUILDS = ["generic", "haswell", "skylake-avx512"]


@st.composite
def broadcasts(draw: st.DrawFn) -> tuple[list[int], list[bool], list[bool]]:
    """A shape, which of its axes are symbolic, and along which the other operand is repeated."""
    shape = draw(st.lists(SIZES, min_size=1, max_size=4))
    flags = st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))
    return shape, draw(flags), draw(flags)


@PROPERTY
@given(given_shape=broadcasts())
def test_chains_with_broadcast_operands(
    given_shape: tuple[list[int], list[bool], list[bool]],
) -> None:
    shape, symbolic, repeated = given_shape
    x = placeholder([f"d{axis}" if symbolic[axis] else size for axis, size in enumerate(shape)])
    y = like(x, [1 if repeat else None for repeat in repeated])
    total = topi.add(x, y)
    assert_computes(
        [x, y],
        topi.multiply(topi.sigmoid(total), total),
        [normal(*shape), normal(*(1 if r else s for r, s in zip(repeated, shape, strict=True)))],
        lambda x, y: special.expit(x + y) * (x + y),
    )


@pytest.mark.parametrize("size", [*range(1, 20), 31, 32, 33, 63, 64, 65, 1000])
def test_any_length(size: int) -> None:
    x = placeholder((size,))
    assert_computes([x], topi.nn.relu(x), [normal(size)], lambda x: np.maximum(x, 0))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 100, 100_000])
def test_any_symbolic_length(size: int) -> None:
    x = placeholder(("n",))
    assert_computes([x], topi.nn.relu(x), [normal(size)], lambda x: np.maximum(x, 0))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8", "float64"])
def test_types(dtype: str) -> None:
    values = [np.random.default_rng(seed).integers(0, 60, (5, 77)).astype(dtype) for seed in (0, 1)]
    x, y = (placeholder((5, 77), dtype, name) for name in "xy")
    assert_computes([x, y], topi.maximum(topi.add(x, y), x), values, lambda x, y: x + y)


def test_truths() -> None:
    x, y = (placeholder((5, 77), name=name) for name in "xy")
    both = topi.logical_and(topi.greater(x, y), topi.greater(y, te.const(0.0, "float32")))
    assert_computes(
        [x, y], both, [normal(5, 77), normal(5, 77, seed=1)], lambda x, y: (x > y) & (y > 0)
    )


def test_a_choice_by_value() -> None:
    x, y = (placeholder((5, 77), name=name) for name in "xy")
    assert_computes(
        [x, y],
        topi.where(topi.greater(x, y), topi.exp(x), y),
        [normal(5, 77), normal(5, 77, seed=1)],
        lambda x, y: np.where(x > y, np.exp(x), y),
    )


def test_a_function_without_vector_code() -> None:
    x = placeholder((5, 33))
    assert_computes(
        [x], topi.atan(topi.multiply(x, x)), [normal(5, 33)], lambda x: np.arctan(x * x)
    )


def test_a_scalar() -> None:
    x = placeholder(())
    assert_computes([x], topi.add(x, te.const(1.5, "float32")), [np.float32(2)], lambda x: x + 1.5)


def test_positions_as_values() -> None:
    x = placeholder((9, 21))
    shifted = te.compute(x.shape, lambda i, j: x[i, j] + j.astype("float32") * i.astype("float32"))
    assert_computes(
        [x], shifted, [normal(9, 21)],
        lambda x: x + np.arange(9, dtype=np.float32)[:, None] * np.arange(21, dtype=np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(100_003,), (3, 40_001), (257, 401), (2, 3, 20_000)])
def test_threads_change_no_bit(shape: tuple[int, ...]) -> None:
    x = placeholder(shape)
    function = prim_func([x], [topi.tanh(topi.exp(x))])
    values, result = normal(*shape), (shape, "float32")
    one, two, three = (run(function, [values], [result], threads=n)[0] for n in (1, 2, 3))
    assert one.tobytes() == two.tobytes() == three.tobytes()
    np.testing.assert_allclose(one, np.tanh(np.exp(values)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mcpu", BUILDS)
def test_each_vector_width(mcpu: str) -> None:
    x = placeholder((7, 53))
    assert_computes(
        [x], topi.exp(x), [normal(7, 53)], np.exp, cpu=describe_cpu(mcpu, threads=2), rounding=1e-6
    )


@pytest.mark.parametrize(("mcpu", "register"), [("haswell", "%ymm"), ("znver4", "%zmm")])
def test_chains_become_vectors_without_calls(mcpu: str, register: str) -> None:
    x = placeholder((64, 1000))
    cpu = describe_cpu(mcpu, threads=2)
    from ingot.targets.cpu.kernels.plain.plain import write_plain

    kernel = compile_kernel(
        write_plain(prim_func([x], [topi.multiply(topi.sigmoid(x), x)]), cpu), cpu
    )
    assert re.search(rf"vdivps\s.*{register}", kernel.assembly)
    assert not re.search(r"\bexpf\b", kernel.assembly)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("symbolic", [True, False])
@pytest.mark.parametrize("size", [1, 3, 7, 8, 11, 16, 31, 32, 40, 45, 64, 70])
def test_a_row_is_gone_through(size: int, symbolic: bool, again: bool) -> None:
    extent = tirx.Var("n", "int64") if symbolic else index(size)
    emitter = Emitter()
    counts = tirx.decl_buffer([extent], "float32", "counts")
    result = tirx.decl_buffer([extent], "float32", "result")

    def count(at: tirx.Expr, lanes: int) -> None:
        with emitter.vectorized(lanes) as lane:
            value = load(result, at + lane) + load(counts, at + lane)
            emitter.store(result, value, [at + lane])

    with emitter.loop(extent, "element") as at:
        emitter.store(result, tirx.const(0.0, "float32"), [at])
    Row(emitter, extent, 8, 32, again=again).each(count)
    kernel = compile_kernel(finished([counts, result], emitter.body()), describe_cpu("native", 1))
    times = kernel(np.ones(size, np.float32), shape=(size,))
    assert times.min() == 1
    assert times.max() <= (2 if again else 1)
