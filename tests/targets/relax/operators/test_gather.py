"""What is read and written by index is inside of the data, or refused before it is touched."""

from __future__ import annotations

import numpy as np
import pytest

from ingot.errors import InputError, UnsupportedOperatorError
from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same, assert_same_at, parse

DATA = np.arange(36, dtype=np.float32).reshape(4, 9)
ALONG_ROWS = ([1, 2, 3], [8], [-9, 8], [9], [-10], [0, 10**12])
TUPLES = ([[1, 2]], [[3, 8], [-4, -9]], [[4, 0]], [[0, 9]], [[0, -10]], [[-5, 0]])


@pytest.mark.parametrize(
    "data", ["float[4,9]", "float[K,L]", "int32[4,9]"], ids=["known", "symbolic", "integers"]
)
def test_gather_of_computed_indices(compile_for_cpu: Compile, data: str) -> None:
    kind = data.partition("[")[0]
    model = parse(f"""g ({data} x, int64[N] i, int64[N] j)
      => ({kind}[N,9] y, {kind}[4,N] z) {{
        k = Add(i, j) y = Gather(x, k) z = Gather<axis = 1>(x, i) }}""")
    compiled = compile_for_cpu(model)
    x = DATA.astype(np.float32 if kind == "float" else np.int32)
    for i, j in (([1], [2]), ([3, 0], [0, 0]), ([8], [1]), ([-5, 0], [1, 1]), ([-9], [0])):
        assert_same(model, compiled, {"x": x, "i": np.array(i), "j": np.array(j)})


@pytest.mark.parametrize("index", [2, -1, 0, -3])
def test_gather_at_a_known_index_of_a_symbolic_dimension(
    compile_for_cpu: Compile, index: int
) -> None:
    text = f"""g (float[N,4] x) => (float[4] y, float[N,1] z, float[2,4] w) {{
      i = Constant<value = int64 {{{index}}}>() j = Constant<value = int64[1] {{{index}}}>()
      k = Constant<value = int64[2] {{0, {index}}}>()
      y = Gather(x, i) z = Gather<axis = 1>(x, j) w = Gather(x, k) }}"""
    assert_same_at(compile_for_cpu, text, [{"N": n} for n in (1, 2, 3, 5)])


def test_gather_at_an_index_computed_from_sizes(compile_for_cpu: Compile) -> None:
    text = """g (float[N,4] x, float[M,2] t) => (float[4] y) {
      one = Constant<value = int64 {1}>() zero = Constant<value = int64 {0}>()
      s = Shape(t) m = Gather(s, zero) i = Sub(m, one) y = Gather(x, i) }"""
    sizes = [{"N": n, "M": m} for n in (1, 2, 3, 5) for m in (1, 2, 3)]
    assert_same_at(compile_for_cpu, text, sizes)


@pytest.mark.parametrize("data", ["[4,9]", "[K,L]"], ids=["known", "symbolic"])
def test_by_elements(compile_for_cpu: Compile, data: str) -> None:
    model = parse(f"""g (float{data} x, int64[4,N] i, float[4,N] u)
      => (float[4,N] y, float{data} z, float{data} w) {{
        y = GatherElements<axis = 1>(x, i) z = ScatterElements<axis = 1>(x, i, u)
        w = ScatterElements<axis = -1, reduction = "add">(x, i, u) }}""")
    compiled = compile_for_cpu(model)
    for row in ALONG_ROWS:
        update = -np.ones((4, len(row)), np.float32)
        assert_same(model, compiled, {"x": DATA, "i": np.array([row] * 4), "u": update})


def test_fewer_indices_than_entries(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[K,9] x, int64[M,2] i, float[M,2] u)
      => (float[M,2] y, float[K,9] z) {
        y = GatherElements<axis = 1>(x, i) z = ScatterElements<axis = 1>(x, i, u) }""")
    compiled = compile_for_cpu(model)
    for count in (1, 3, 4):
        indices, update = np.array([[0, 5]] * count), -np.ones((count, 2), np.float32)
        assert_same(model, compiled, {"x": DATA, "i": indices, "u": update})


@pytest.mark.parametrize("data", ["[4,9]", "[K,L]"], ids=["known", "symbolic"])
def test_by_tuples(compile_for_cpu: Compile, data: str) -> None:
    model = parse(f"""g (float{data} x, int64[N,2] i, float[N] u)
      => (float[N] y, float{data} z) {{ y = GatherND(x, i) z = ScatterND(x, i, u) }}""")
    compiled = compile_for_cpu(model)
    for tuples in TUPLES:
        update = -np.ones(len(tuples), np.float32)
        assert_same(model, compiled, {"x": DATA, "i": np.array(tuples), "u": update})


def test_slices_by_tuples_of_one(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[K,9] x, int64[N,1] i, float[N,9] u)
      => (float[N,9] y, float[K,9] z) { r = Relu(u) y = GatherND(x, i) z = ScatterND(x, i, r) }""")
    compiled = compile_for_cpu(model)
    for rows in ([0], [3, -4], [4], [-5, 1]):
        update = np.ones((len(rows), 9), np.float32)
        assert_same(model, compiled, {"x": DATA, "i": np.array(rows)[:, None], "u": update})


@pytest.mark.parametrize("data", ["[4,9]", "[K,L]"], ids=["known", "symbolic"])
def test_scatter_before_opset_11(compile_for_cpu: Compile, data: str) -> None:
    text = f"""g (float{data} x, int64[4,N] i, float[4,N] u) => (float{data} y) {{
      y = Scatter<axis = 1>(x, i, u) }}"""
    model = parse(text, opset=10)
    compiled = compile_for_cpu(model)
    for row in ALONG_ROWS:
        update = -np.ones((4, len(row)), np.float32)
        assert_same(model, compiled, {"x": DATA, "i": np.array([row] * 4), "u": update})


def test_an_error_tells_node_index_and_size(compile_for_cpu: Compile) -> None:
    model = parse("g (float[K,9] x, int64[N] i) => (float[N,9] y) { [rows] y = Gather(x, i) }")
    compiled = compile_for_cpu(model)
    with pytest.raises(InputError, match=r"'rows' \(Gather\): index -5 is outside of 4 entries"):
        compiled(DATA, np.array([0, -5, 3]))
    with pytest.raises(InputError, match="index 9223372036854775807 is outside of 4 entries"):
        compiled(DATA, np.array([2**63 - 1]))


def test_constant_indices_are_checked_when_the_model_is_compiled(compile_for_cpu: Compile) -> None:
    with pytest.raises(UnsupportedOperatorError, match="number 7 is not one of 4 rows"):
        compile_for_cpu(
            parse("""g (float[1,2,1,4] x, float[4,2] t) => (float[1,2,1,4] y) {
          p = Constant<value = int64[1,1] {7}>() y = RotaryEmbedding(x, t, t, p) }""")
        )
