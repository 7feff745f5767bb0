"""Softmax, layer norm and RMS norm over rows of any width, known before or only when they run."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx

from ingot.targets.cpu.kernels.rows.rows import Norm, norm, softmax
from ingot.targets.cpu.machine import describe_cpu
from tests.examples import examples
from tests.targets.cpu.kernels.conftest import compile_kernel

# Each example is a compilation.
PROPERTY = settings(max_examples=examples(15), deadline=None)
# Around what a vector, and what all chains of a sum hold.
WIDTHS = st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 384, 1000]))
LEADING = st.lists(st.integers(1, 5), max_size=3)
EPSILON = 1e-5
BUILDS = ["generic", "haswell", "skylake-avx512"]


def normal(*shape: int, mean: float = 0.0, deviation: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, deviation, shape).astype(np.float32)


def softmax_of(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def norm_of(x: np.ndarray, columns: list[np.ndarray], problem: Norm) -> np.ndarray:
    value = x.astype(np.float64)
    if problem.centered:
        value = value - value.mean(-1, keepdims=True)
    value = value / np.sqrt((value * value).mean(-1, keepdims=True) + EPSILON)
    columns = list(columns)
    if problem.scaled:
        value = value * columns.pop(0)
    return value + columns.pop(0) if problem.shifted else value


def symbolic(shape: list[int], which: set[int]) -> tuple:
    return tuple(
        tirx.Var(f"d{axis}", "int64") if axis in which else size for axis, size in enumerate(shape)
    )


@PROPERTY
@given(leading=LEADING, width=WIDTHS, data=st.data())
def test_softmax(leading: list[int], width: int, data: st.DataObject) -> None:
    shape = [*leading, width]
    unknown = data.draw(st.sets(st.sampled_from(range(len(shape)))))
    cpu = describe_cpu("native", threads=2)
    x = normal(*shape, deviation=5.0)
    actual = compile_kernel(softmax(symbolic(shape, unknown), cpu), cpu)(x, shape=x.shape)
    np.testing.assert_allclose(actual, softmax_of(x), atol=1e-6)


@PROPERTY
@given(
    leading=LEADING,
    width=WIDTHS,
    centered=st.booleans(),
    scaled=st.booleans(),
    shifted=st.booleans(),
    data=st.data(),
)
def test_norms(leading: list[int], width: int, centered: bool, scaled: bool, shifted: bool,
               data: st.DataObject) -> None:  # fmt: skip
    shape = [*leading, width]
    unknown = data.draw(st.sets(st.integers(0, len(leading) - 1)) if leading else st.just(set()))
    problem = Norm(symbolic(shape, unknown), EPSILON, centered, scaled, shifted)
    columns = [normal(width)] * (scaled + shifted)
    x = normal(*shape, mean=1.0, deviation=3.0)
    cpu = describe_cpu("native", threads=2)
    actual = compile_kernel(norm(problem, cpu), cpu)(x, *columns, shape=x.shape)
    np.testing.assert_allclose(actual, norm_of(x, columns, problem), atol=1e-5)


@pytest.mark.parametrize("mcpu", BUILDS)
def test_builds(mcpu: str) -> None:
    cpu = describe_cpu(mcpu, threads=2)
    x, columns = normal(6, 75), [normal(75), normal(75)]
    problem = Norm((6, 75), EPSILON)
    actual = compile_kernel(norm(problem, cpu), cpu)(x, *columns, shape=x.shape)
    np.testing.assert_allclose(actual, norm_of(x, columns, problem), atol=1e-5)
    actual = compile_kernel(softmax(x.shape, cpu), cpu)(x, shape=x.shape)
    np.testing.assert_allclose(actual, softmax_of(x), atol=1e-6)


def test_softmax_of_large_and_of_excluded_elements() -> None:
    x = np.array([[1e30, 1e30, -1e30], [-np.inf, 0.0, 0.0], [-1e4, -1e4, -np.inf]], np.float32)
    cpu = describe_cpu("native", threads=1)
    actual = compile_kernel(softmax(x.shape, cpu), cpu)(x, shape=x.shape)
    expected = [[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0.5, 0]]
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_a_mean_that_is_large_against_the_deviation_costs_no_digits() -> None:
    # The sum of squares of such a row, less the squared mean, would leave nothing of the variance.
    x = normal(4, 768, mean=1e4)
    cpu = describe_cpu("native", threads=1)
    problem = Norm(x.shape, EPSILON, scaled=False, shifted=False)
    actual = compile_kernel(norm(problem, cpu), cpu)(x, shape=x.shape)
    # The mean itself is rounded to float32's spacing at 1e4.
    spacing = float(np.spacing(np.float32(1e4)))
    np.testing.assert_allclose(actual, norm_of(x, [], problem), atol=2 * spacing)


@pytest.mark.parametrize("rows", [3, 2000])
def test_threads_change_no_bit(rows: int) -> None:
    cpu = describe_cpu("native", threads=2)
    x = normal(rows, 75)
    shape = symbolic([rows, 75], {0})
    problem = Norm(shape, EPSILON, scaled=False, shifted=False)
    for function in (softmax(shape, cpu), norm(problem, cpu)):
        kernel = compile_kernel(function, cpu)
        results = {kernel(x, shape=x.shape, threads=n).tobytes() for n in (1, 2, 3)}
        assert len(results) == 1


@pytest.mark.parametrize(("mcpu", "register"), [("haswell", "ymm"), ("znver4", "zmm")])
def test_code_is_vectors(mcpu: str, register: str) -> None:
    cpu = describe_cpu(mcpu, threads=2)
    assembly = compile_kernel(norm(Norm((128, 768), EPSILON), cpu), cpu).assembly
    assert re.search(rf"vfmadd\d+ps.*%{register}", assembly)
    assembly = compile_kernel(softmax((128, 768), cpu), cpu).assembly
    assert f"%{register}" in assembly
    assert "expf" not in assembly
