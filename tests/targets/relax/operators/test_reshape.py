"""Shapes that are known, symbolic, or given when the model runs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same, assert_same_at, every, parse

SIZES = [*every("N", "M"), {"N": 1, "M": 7}, {"N": 4, "M": 4}]


def test_symbolic_shapes(compile_for_cpu: Compile) -> None:
    text = """g (float[N,M,12] x) => (float[A,B,C] y, float[D] z, float[E,F] w, float[N,M,12] v,
      float[G,3,H] u, float[I,J] t, float[K,L] q, float[O,P] p) {
        four = Constant<value = int64[1] {4}>() rest = Constant<value = int64[1] {-1}>()
        own = Constant<value = int64[1] {0}>()
        n = Shape<end = 1>(x) m = Shape<start = 1, end = 2>(x)
        s1 = Concat<axis = 0>(n, rest, four) y = Reshape(x, s1)
        z = Reshape(x, rest)
        nm = Mul(n, m) s2 = Concat<axis = 0>(nm, rest) w = Reshape(x, s2)
        s3 = Concat<axis = 0>(own, own, rest) v = Reshape(x, s3)
        s4 = Constant<value = int64[3] {-1, 3, 4}>() u = Reshape(x, s4)
        t = Flatten<axis = 2>(x) q = Flatten<axis = 0>(x) p = Flatten<axis = -1>(x) }"""
    assert_same_at(compile_for_cpu, text, SIZES)


def test_a_shape_given_when_the_model_runs(compile_for_cpu: Compile) -> None:
    model = parse("g (float[N,12] x, int64[3] s) => (float[A,B,C] y) { y = Reshape(x, s) }")
    compiled = compile_for_cpu(model)
    shapes = (
        [0, 3, 4], [-1, 2, 2], [2, -1, 3], [0, -1, 12], [1, 1, -1], [5, 12, 1], [0, 0, -1],
        [3, -1, 1], [-1, -1, 2],
    )  # fmt: skip
    for n in (1, 2, 5):
        x = np.arange(n * 12, dtype=np.float32).reshape(n, 12)
        for shape in shapes:
            assert_same(model, compiled, {"x": x, "s": np.array(shape)})


def test_elements_that_do_not_divide_are_refused(compile_for_cpu: Compile) -> None:
    text = """g (float[N,6] x) => (float[A,4] y) {
      s = Constant<value = int64[2] {-1, 4}>() y = Reshape(x, s) }"""
    assert_same_at(compile_for_cpu, text, [{"N": n} for n in (1, 2, 3, 4)])


def test_zero_as_a_size(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[0,6] x) => (float[3,0] y) {
      s = Constant<value = int64[2] {3, 0}>() y = Reshape<allowzero = 1>(x, s) }""")
    assert_same(model, compile_for_cpu(model), {"x": np.zeros((0, 6), np.float32)})


def test_dimensions_of_one(compile_for_cpu: Compile) -> None:
    text = """g (float[N,1,M] x) => (float[N,M] y, float[1,N,1,M] z, float[M] w) {
      a = Constant<value = int64[1] {1}>() y = Squeeze(x, a)
      b = Constant<value = int64[1] {-4}>() z = Unsqueeze(x, b)
      c = Constant<value = int64[2] {0, -2}>() w = Squeeze(x, c) }"""
    assert_same_at(compile_for_cpu, text, [{"N": 1, "M": 3}, {"N": 1, "M": 1}, {"N": 2, "M": 3}])


@pytest.mark.parametrize("axes", ["1, 3", "-1, 1", "0, 1"])
def test_axes_given_when_the_model_runs(compile_for_cpu: Compile, axes: str) -> None:
    model = parse(
        """g (float[N,1,M,1] x, int64[2] a) => (float[P,Q] y, float[A,B,C,D,E,F] z) {
          y = Squeeze(x, a) z = Unsqueeze(x, a) }"""
    )
    x = np.arange(3, dtype=np.float32).reshape(1, 1, 3, 1)
    given = np.array([int(axis) for axis in axes.split(",")])
    assert_same(model, compile_for_cpu(model), {"x": x, "a": given})


@pytest.mark.parametrize("dtype", ["bool", "int64", "double"])
def test_other_dtypes(compile_for_cpu: Compile, dtype: str) -> None:
    text = f"""g ({dtype}[N,M] x) => ({dtype}[K] y) {{
      rest = Constant<value = int64[1] {{-1}}>() y = Reshape(x, rest) }}"""
    assert_same_at(compile_for_cpu, text, SIZES[:3])
