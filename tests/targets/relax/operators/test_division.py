"""Integers are divided as ONNX Runtime divides them, and never by zero."""

from __future__ import annotations

import numpy as np
import pytest

from ingot.errors import InputError, UnsupportedOperatorError
from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same, assert_same_at, parse

SIGNED, UNSIGNED = ("int8", "int16", "int32", "int64"), ("uint8", "uint16", "uint32", "uint64")
FIRST = (("int64", "N"), ("int32", "4"), ("uint8", "N"))


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        pytest.param(kind, size, marks=() if (kind, size) in FIRST else pytest.mark.slow)
        for kind in (*SIGNED, *UNSIGNED)
        for size in "4N"
    ],
)
def test_quotients_and_remainders(compile_for_cpu: Compile, kind: str, size: str) -> None:
    """Also within a chain of operators that becomes one kernel."""
    model = parse(f"""g ({kind}[{size}] a, {kind}[{size}] b) => ({kind}[{size}] q,
      {kind}[{size}] r, {kind}[{size}] f, {kind}[{size}] c) {{
        q = Div(a, b) r = Mod(a, b) f = Mod<fmod = 1>(a, b) s = Add(a, b) t = Div(s, b)
        c = Mul(t, b) }}""")
    compiled = compile_for_cpu(model)
    limits = np.iinfo(kind)
    pairs = [([1, 7, 100, limits.max], [1, 2, 3, limits.max]), ([1, 2, 3, 4], [1, 2, 0, 1]),
             ([0] * 4, [0] * 4)]  # fmt: skip
    if kind in SIGNED:
        pairs.append(([-7, 7, -7, limits.min], [2, -2, -2, limits.min]))
    for a, b in pairs:
        assert_same(model, compiled, {"a": np.array(a, kind), "b": np.array(b, kind)})


def test_the_least_number_by_minus_one_is_itself(compile_for_cpu: Compile) -> None:
    """ONNX leaves it open; ONNX Runtime ends the process at 64 bits."""
    values = " ".join(f"q{k} = Div({k}, {k}d) r{k} = Mod({k}, {k}d)" for k in SIGNED)
    inputs = ", ".join(f"{k}[N] {k}, {k}[N] {k}d" for k in SIGNED)
    outputs = ", ".join(f"{k}[N] q{k}, {k}[N] r{k}" for k in SIGNED)
    compiled = compile_for_cpu(parse(f"g ({inputs}) => ({outputs}) {{ {values} }}"))
    least = [np.iinfo(kind).min for kind in SIGNED]
    feeds = [
        np.array(each, kind)
        for kind, low in zip(SIGNED, least, strict=True)
        for each in ([low, 5], [-1, -1])
    ]
    results = [array.tolist() for array in compiled(*feeds)]
    assert results == [each for low in least for each in ([low, -5], [0, 0])]


def test_a_division_by_zero_names_the_node(compile_for_cpu: Compile) -> None:
    model = parse("g (int64[N] a, int64 b) => (int64[N] y) { y = Div(a, b) }")
    model.graph.node[0].name = "half{0}"
    compiled = compile_for_cpu(model)
    with pytest.raises(InputError, match=r"'half\{0\}' \(Div\): division by zero"):
        compiled(np.arange(3), np.array(0))
    assert compiled(np.arange(3), np.array(2))[0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_what_always_divides_by_zero_is_not_compiled(
    compile_for_cpu: Compile, operator: str
) -> None:
    with pytest.raises(UnsupportedOperatorError, match="constant zero"):
        compile_for_cpu(
            parse(f"""g (int64[3] a) => (int64[3] y) {{
          z = Constant<value = int64[3] {{1, 0, 2}}>() y = {operator}(a, z) }}""")
        )


@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_division_by_a_size_that_is_zero(compile_for_cpu: Compile, operator: str) -> None:
    text = f"""g (float[N,4] x, float[M,2] t) => (float[K] y) {{
      s = Shape<end = 1>(x) m = Shape<end = 1>(t) k = {operator}(s, m)
      y = ConstantOfShape(k) }}"""
    assert_same_at(compile_for_cpu, text, [{"N": n, "M": m} for n in (0, 5) for m in (0, 1, 3)])


def test_means_of_no_integers(compile_for_cpu: Compile) -> None:
    compiled = compile_for_cpu(
        parse("""g (int32[3,N] x) => (int32[3] y) { a = Constant<value = int64[1] {1}>()
          y = ReduceMean<keepdims = 0>(x, a) }""")
    )
    assert compiled(np.ones((3, 2), np.int32))[0].tolist() == [1, 1, 1]
    compiled(np.ones((3, 0), np.int32))  # ONNX leaves open what it is


@pytest.mark.parametrize("size", ["4", "N"], ids=["known", "symbolic"])
def test_a_branch_that_is_not_taken_fails_at_nothing(compile_for_cpu: Compile, size: str) -> None:
    model = parse(f"""g (bool c, int64[{size}] a, int64[{size}] i, float[5,2] x, float[5,3] u,
      float[{size},3] row)
      => (float[{size},2] y, int64[{size}] z, float[5,3] w, float[{size},2] v) {{
        five = Constant<value = int64 {{5}}>()
        one = Constant<value = int64[1] {{1}}>()
        low = Constant<value = int64 {{0}}>() high = Constant<value = int64 {{99}}>()
        h = Clip(i, low, high) m = Mod(h, five) j = Unsqueeze(i, one) jj = Concat<axis = 1>(j, j)
        y = If(c) <
          then_branch = t () => (float[{size},2] p) {{ p = Gather(x, i) }},
          else_branch = e () => (float[{size},2] q) {{ q = Gather(x, m) }}>
        z = If(c) <
          then_branch = t2 () => (int64[{size}] p2) {{ p2 = Div(five, a) }},
          else_branch = e2 () => (int64[{size}] q2) {{ q2 = Add(a, a) }}>
        w = If(c) <
          then_branch = t3 () => (float[5,3] p3) {{
            p3 = ScatterND(u, j, row) }},
          else_branch = e3 () => (float[5,3] q3) {{ q3 = Neg(u) }}>
        v = If(c) <
          then_branch = t4 () => (float[{size},2] p4) {{ p4 = GatherElements(x, jj) }},
          else_branch = e4 () => (float[{size},2] q4) {{ q4 = Gather(x, m) }}> }}""")
    compiled = compile_for_cpu(model)
    x, u = (np.arange(5 * n, dtype=np.float32).reshape(5, n) for n in (2, 3))
    for a, i in (
        ([1, -2, 3, 4], [0, 4, -5, 1]),
        ([1, 0, 0, 2], [0, 1, 2, 3]),
        ([1, 2, 3, 4], [5, 2**60, -6, -(2**62)]),
    ):
        for taken in (True, False):
            feeds = {"c": np.array(taken), "a": np.array(a), "i": np.array(i), "x": x, "u": u}
            feeds["row"] = np.arange(12, dtype=np.float32).reshape(4, 3)
            assert_same(model, compiled, feeds)
