"""What graphs compute from shapes is known as numbers or expressions, and right as data."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax, tirx

from ingot.targets.relax.shape_values import Known, evaluate
from ingot.targets.relax.shape_values.known import known_scalar, known_vector
from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same_at, every

N = tirx.Var("n", "int64")


def shape() -> Known:
    """The shape of a tensor of n rows of 12."""
    tensor = relax.Var("x", relax.TensorType([N, 12], "float32"))
    (known,) = evaluate("Shape", [tensor], {}) or ()
    return known


def one(operator: str, *inputs: Known, **attributes: object) -> Known:
    results = evaluate(operator, inputs, attributes)
    assert results is not None, operator
    return results[0]


@pytest.mark.parametrize("factor", [2.0, 1.5, 0.25])
def test_sizes_in_floating_point_become_whole_numbers_again(factor: float) -> None:
    rows = one("Gather", shape(), known_scalar(0))
    scaled = one("Mul", one("Cast", rows, to=1), known_scalar(factor, "float32"))
    size = one("Cast", one("Floor", scaled), to=7).scalar()
    assert "Cast" not in str(size)
    assert "float" not in str(size)


def test_conditions_on_sizes_that_are_never_negative_are_decided() -> None:
    wanted = known_vector([-1, 4])
    unknown = one("Equal", wanted, known_vector([-1]))
    assert one("Where", unknown, shape(), wanted).flat[1] == 4
    assert one("Equal", shape(), known_vector([-1])).flat == [False, False]
    assert one("GreaterOrEqual", shape(), known_vector([0])).flat == [True, True]


def test_what_is_joined_and_reduced_stays_known() -> None:
    joined = one("Concat", shape(), known_vector([3]), axis=0)
    assert joined.flat[1:] == [12, 3]
    assert str(one("ReduceProd", joined, keepdims=0).scalar()) == str(N * 36)
    assert one("Slice", joined, known_vector([-1]), known_vector([-9]), known_vector([0]),
               known_vector([-1])).flat[:2] == [3, 12]  # fmt: skip


def test_data_is_not_evaluated() -> None:
    data = relax.Var("x", relax.TensorType([2], "int64"))
    assert evaluate("Add", [data, known_vector([1])], {}) is None


def test_as_data(compile_for_cpu: Compile) -> None:
    text = """g (float[N,M] x) => (int64 a, int64[2] b, int64 c, int64 d, int64[2] e, int64[1] f,
      int64[2] h, bool[2] k, int64[2] l, int64 p, float q, int64[4] r, int32[2] t, int64[2] u,
      int64 w, int64[2] z) {
        o = Constant<value = int64 {0}>() i = Constant<value = int64 {1}>()
        two = Constant<value = int64 {2}>() v = Constant<value = int64[1] {2}>()
        zero = Constant<value = int64[1] {0}>() half = Constant<value = float {1.5}>()
        third = Constant<value = float[2] {0.7, 0.3}>()
        s = Shape(x) n = Gather(s, o) m = Gather(s, i)
        a = Sub(n, m) b = Mul(s, v) c = ReduceProd<keepdims = 0>(s) d = Size(x) e = Neg(s)
        nf = Cast<to = 1>(n) g1 = Mul(nf, half) g2 = Floor(g1) g3 = Cast<to = 7>(g2)
        f = Unsqueeze(g3, zero) h = Max(s, v) k = Greater(s, v) l = Where(k, s, v)
        p = Mod(n, two) q = Sqrt(nf) r = Concat<axis = 0>(s, b) t = Cast<to = 6>(s)
        u = Div(s, v) w = Abs(a)
        sf = Cast<to = 1>(s) tf = Mul(sf, third) cf = Ceil(tf) z = Cast<to = 7>(cf) }"""
    assert_same_at(compile_for_cpu, text, every("N", "M", of=(1, 2, 3, 10, 30)))


def test_sequences_and_fills_of_symbolic_length(compile_for_cpu: Compile) -> None:
    text = """g (float[N,M] x) => (int64[K] y, float[P] w, int32[Q] v, float[N,M] c, float[A,B] u) {
      o = Constant<value = int64 {0}>() two = Constant<value = int64 {2}>()
      step = Constant<value = float {0.5}>() start = Constant<value = float {0.0}>()
      o32 = Constant<value = int32 {0}>() i32 = Constant<value = int32 {1}>()
      s = Shape(x) n = Gather(s, o) y = Range(o, n, two)
      f = Cast<to = 1>(n) w = Range(start, f, step)
      n32 = Cast<to = 6>(n) v = Range(o32, n32, i32) c = ConstantOfShape(s) u = Tile(x, s) }"""
    assert_same_at(compile_for_cpu, text, every("N", "M", of=(1, 2, 3)))


def test_known_constants_keep_their_dtype() -> None:
    known = one("Cast", known_vector([1, 2]), to=6)
    assert known.array().dtype == np.int32
