"""Slices and splits of symbolic dimensions keep to the data, whatever their bounds say."""

from __future__ import annotations

import numpy as np
import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same, assert_same_at, every, parse

LENGTHS = [{"B": 2, "N": n} for n in (1, 2, 3, 5, 16, 40, 200)]
FAR = 2**62


def constants(**values: int) -> str:
    return " ".join(
        f"{name} = Constant<value = int64[1] {{{value}}}>()" for name, value in values.items()
    )


def test_known_bounds(compile_for_cpu: Compile) -> None:
    bounds = [
        (0, 128, 1), (-4, FAR, 1), (3, FAR, 1), (0, -3, 1), (-1, -FAR, -1), (1, 30, 3), (5, 2, 1),
        (-1, FAR, 1), (30, 3, -2), (0, 2**63 - 1, 1), (-(2**63), 2, 1),
    ]  # fmt: skip
    outputs = ", ".join(f"float[B,L{at}] y{at}" for at in range(len(bounds)))
    nodes = "\n".join(
        f"{constants(**{f's{at}': start, f'e{at}': end, f't{at}': step})} "
        f"y{at} = Slice(x, s{at}, e{at}, a, t{at})"
        for at, (start, end, step) in enumerate(bounds)
    )
    text = f"g (float[B,N] x) => ({outputs}) {{ {constants(a=1)} {nodes} }}"
    assert_same_at(compile_for_cpu, text, LENGTHS)


def test_bounds_computed_from_another_inputs_size(compile_for_cpu: Compile) -> None:
    text = f"""g (float[1,20] x, float[B,N] t) => (float[1,L] y, float[1,K] z, float[1,J] w) {{
      {constants(zero=0, one=1, two=2, four=4, far=FAR)} n = Shape<start = 1>(t)
      y = Slice(x, zero, n, one)
      before = Sub(n, four) z = Slice(x, before, n, one)
      half = Div(n, two) w = Slice(x, half, far, one) }}"""
    sizes = [{"B": 2, "N": n} for n in (1, 2, 3, 4, 5, 20, 21, 64, 4000)]
    assert_same_at(compile_for_cpu, text, sizes)


def test_a_table_cut_to_a_length_beyond_it_is_refused_where_it_is_added(
    compile_for_cpu: Compile,
) -> None:
    text = f"""g (float[B,N,8] x, float[1,32,8] table) => (float[B,N,8] y) {{
      {constants(zero=0, one=1)} n = Shape<start = 1, end = 2>(x)
      part = Slice(table, zero, n, one) y = Add(x, part) }}"""
    # The last one is far beyond the table: it has to be refused before anything is read.
    sizes = [{"B": 1, "N": n} for n in (1, 7, 32, 33, 1_000_000)]
    assert_same_at(compile_for_cpu, text, sizes)


def test_bounds_given_when_the_model_runs(compile_for_cpu: Compile) -> None:
    model = parse(f"""g (float[B,N] x, int64[1] s, int32[1] e) => (float[B,L] y) {{
      {constants(one=1)} far = Cast<to = 7>(e) y = Slice(x, s, far, one) }}""")
    compiled = compile_for_cpu(model)
    for n in (1, 5, 16):
        x = np.arange(2 * n, dtype=np.float32).reshape(2, n)
        for start, end in ((0, 1), (0, 3), (-2, 2**31 - 1), (-3, -1), (-100, 3), (2, 100), (3, 2)):
            feeds = {"x": x, "s": np.array([start]), "e": np.array([end], np.int32)}
            assert_same(model, compiled, feeds)


def test_axes_and_steps_given_when_the_model_runs(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[M,N] x, int64[2] s, int64[2] e, int64[2] a, int64[2] t)
      => (float[P,Q] y) { y = Slice(x, s, e, a, t) }""")
    compiled = compile_for_cpu(model)
    x = np.arange(35, dtype=np.float32).reshape(7, 5)
    for axes in ([0, 1], [1, 0], [-1, -2]):
        for start, end, step in ((0, 1, 1), (-2, FAR, 2), (-1, -FAR, -1), (4, 1, -2), (3, 2, 1)):
            bounds = [start, 1], [end, -1], axes, [step, 2]
            feeds = {"x": x} | dict(zip("seat", map(np.array, bounds), strict=True))
            assert_same(model, compiled, feeds)


@pytest.mark.parametrize(
    ("attributes", "given", "sizes"),
    [
        ("<axis = 1, num_outputs = 3>", "", [3, 5, 7, 8, 9]),
        ("<axis = 1>", "[2, 0, 3]", [5, 6]),
        ("<axis = -1>", "[n - 2, 1, 1]", [2, 3, 7]),
    ],
    ids=["equal parts", "sizes known", "sizes symbolic"],
)
def test_split(compile_for_cpu: Compile, attributes: str, given: str, sizes: list[int]) -> None:
    made = {
        "": ("", ""),
        "[2, 0, 3]": ("p = Constant<value = int64[3] {2, 0, 3}>()", ", p"),
        "[n - 2, 1, 1]": (
            f"""{constants(one=1, two=2)} n = Shape<start = 1>(x) m = Sub(n, two)
            p = Concat<axis = 0>(m, one, one)""",
            ", p",
        ),
    }
    nodes, operand = made[given]
    text = f"""g (float[B,N] x) => (float[B,A] u, float[B,C] v, float[B,D] w) {{
      {nodes} u, v, w = Split {attributes}(x{operand}) }}"""
    assert_same_at(compile_for_cpu, text, [{"B": 2, "N": n} for n in sizes])


def test_split_by_sizes_given_when_the_model_runs(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[B,N] x, int64[2] p) => (float[B,A] u, float[B,C] v) {
      u, v = Split<axis = 1>(x, p) }""")
    compiled = compile_for_cpu(model)
    x = np.arange(14, dtype=np.float32).reshape(2, 7)
    for parts in ([3, 4], [0, 7], [7, 0], [3, 3], [8, -1]):
        assert_same(model, compiled, {"x": x, "p": np.array(parts)})


def test_slices_of_every_dimension(compile_for_cpu: Compile) -> None:
    text = """g (float[N,M,3] x) => (float[A,C,D] y) {
      s = Constant<value = int64[3] {1, -2, 0}>() e = Constant<value = int64[3] {9, 9, 2}>()
      a = Constant<value = int64[3] {0, 1, 2}>() y = Slice(x, s, e, a) }"""
    assert_same_at(compile_for_cpu, text, every("N", "M"))
