"""Symbolic dimensions may be equal or one only when the model runs: right for both, or refused."""

from __future__ import annotations

import numpy as np

from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same, assert_same_at, every, parse

SIZES = [*every("N", "M"), {"N": 1, "M": 7}, {"N": 7, "M": 1}, {"N": 4, "M": 4}, {"N": 1, "M": 1}]


def test_element_wise_operators(compile_for_cpu: Compile) -> None:
    operators = ("Add", "Sub", "Mul", "Div", "Min", "Max", "Less", "Equal", "GreaterOrEqual")
    kinds = [
        "bool" if name in ("Less", "Equal", "GreaterOrEqual") else "float" for name in operators
    ]
    outputs = ", ".join(f"{kind}[O,4] y{at}" for at, kind in enumerate(kinds))
    nodes = " ".join(f"y{at} = {name}(a, b)" for at, name in enumerate(operators))
    text = f"g (float[N,4] a, float[M,4] b) => ({outputs}) {{ {nodes} }}"
    assert_same_at(compile_for_cpu, text, SIZES)


def test_a_symbolic_dimension_against_a_number(compile_for_cpu: Compile) -> None:
    text = """g (float[N,4] a, float[2,4] b, float[4,N] c, float[4,2] d)
      => (float[2,4] y, float[4,2] z)
      { y = Add(a, b) z = Mul(d, c) }"""
    assert_same_at(compile_for_cpu, text, [{"N": n} for n in (1, 2, 3)])


def test_the_last_dimension_and_other_ranks(compile_for_cpu: Compile) -> None:
    text = """g (float[2,N] a, float[2,M] b, float[N] c) => (float[2,O] y, float[2,P] z) {
      y = Mul(a, b) z = Sub(c, b) }"""
    assert_same_at(compile_for_cpu, text, SIZES)


def test_what_was_broadcast_before(compile_for_cpu: Compile) -> None:
    text = """g (float[N,4] a, float[M,4] b) => (float[O,4] y) {
      c = Add(a, b) d = Mul(c, a) e = Sub(b, d) y = Add(e, c) }"""
    assert_same_at(compile_for_cpu, text, SIZES)


def test_three_operands(compile_for_cpu: Compile) -> None:
    text = """g (float[N,4] a, float[M,4] b, bool[C,1] c) => (float[O,4] y, float[P,4] z) {
      y = Where(c, a, b) z = Sum(a, b, y) }"""
    cases = ((2, 2, 2), (3, 1, 3), (1, 3, 3), (3, 3, 1), (1, 1, 3), (1, 1, 1), (2, 3, 3))
    assert_same_at(compile_for_cpu, text, [{"N": n, "M": m, "C": c} for n, m, c in cases])


def test_matrix_products(compile_for_cpu: Compile) -> None:
    text = """g (float[N,4,K] a, float[M,L,5] b)
      => (float[O,4,5] y, float[O,4,5] z) {
        y = MatMul(a, b) e = Reshape(a, shape) z = Relu(y) }""".replace(
        "e = Reshape(a, shape) ", ""
    )
    sizes = [{**each, "K": 3, "L": 3} for each in SIZES] + [{"N": 2, "M": 2, "K": 3, "L": 4}]
    assert_same_at(compile_for_cpu, text, sizes)


def test_general_matrix_product(compile_for_cpu: Compile) -> None:
    text = """g (float[N,6] a, float[5,6] b, float[M,5] c, float[K,N] d, float[L,5] e)
      => (float[N,5] y, float[N,5] z) {
        y = Gemm<transB = 1>(a, b, c) z = Gemm<transA = 1, alpha = 2.0>(d, e) }"""
    sizes = [{"N": n, "M": m} for n, m in ((3, 3), (3, 1), (1, 1), (3, 2), (1, 3))]
    assert_same_at(compile_for_cpu, text, [{**each, "K": 2, "L": 2} for each in sizes])
    assert_same_at(compile_for_cpu, text, [{"N": 3, "M": 1, "K": 2, "L": 3}])


def test_images(compile_for_cpu: Compile) -> None:
    text = """g (float[N,3,H,W] x, float[M,1,H,W] w) => (float[O,3,H,W] y) { y = Mul(x, w) }"""
    sizes = [{"N": n, "M": m, "H": 9, "W": 7} for n, m in ((2, 2), (4, 1), (1, 4), (1, 1), (2, 3))]
    assert_same_at(compile_for_cpu, text, sizes)


def test_expand_to_another_inputs_shape(compile_for_cpu: Compile) -> None:
    text = """g (float[N,4] a, float[M,4] t) => (float[O,4] y) { s = Shape(t) y = Expand(a, s) }"""
    assert_same_at(compile_for_cpu, text, SIZES)


def test_expand_to_a_shape_given_when_the_model_runs(compile_for_cpu: Compile) -> None:
    model = parse("g (float[N,1] a, int64[3] s) => (float[Q,O,P] y) { y = Expand(a, s) }")
    compiled = compile_for_cpu(model)
    for n in (1, 3):
        data = np.arange(n, dtype=np.float32)[:, None]
        for shape in ([1, 1, 1], [2, 3, 1], [2, 3, 4], [1, 1, 4], [0, 3, 1]):
            assert_same(model, compiled, {"a": data, "s": np.array(shape)})


def test_joined_tensors_agree_in_their_other_dimensions(compile_for_cpu: Compile) -> None:
    text = """g (float[N,4] a, float[M,5] b) => (float[N,9] y) { y = Concat<axis = 1>(a, b) }"""
    assert_same_at(compile_for_cpu, text, SIZES)
