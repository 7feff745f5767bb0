"""Operands that ONNX Runtime would crash on, left out or of another size, are refused."""

from __future__ import annotations

import pytest

from ingot.compiler.ingest import ingest
from ingot.errors import ModelError
from ingot.onnx_graph.operands import check_operands
from tests.graphs import parse

LOOP = """<ir_version: 10, opset_import: ["":20]>
g (float[1] x) => (float[1] y) <int64{n} = {{{ns}}}, bool{c} = {{{cs}}}> {{
  y = Loop (n, c, x) <body = b (int64 i, bool d, float[1] v) => (bool e, float[1] w) {{
    e = Identity (d) w = Relu (v) }}>
}}"""
COMPUTED = """<ir_version: 10, opset_import: ["":20]>
g (float[1] x, int64[3] m) => (float[1] y) <int64[1] z = {0}, bool c = {1}> {
  n = Slice (m, z, z)
  y = Loop (n, c, x) <body = b (int64 i, bool d, float[1] v) => (bool e, float[1] w) {
    e = Identity (d) w = Relu (v) }>
}"""


def loop(n: str, ns: str, c: str, cs: str) -> object:
    return parse(LOOP.format(n=f" n{n}" if not n else f"{n} n", ns=ns, c=f"{c} c", cs=cs))


@pytest.mark.parametrize(
    ("counts", "conditions", "position"),
    [(("[0]", ""), ("", "1"), 0), (("[2]", "1, 2"), ("", "1"), 0), (("", "3"), ("[0]", ""), 1)],
    ids=["no count", "two counts", "no condition"],
)
def test_a_loop_of_no_single_count(counts, conditions, position) -> None:
    model = loop(*counts, *conditions)
    with pytest.raises(ModelError, match=rf"takes one element as its input {position}, which is"):
        ingest(model)  # type: ignore[arg-type]


def test_a_count_that_is_computed() -> None:
    with pytest.raises(ModelError, match="takes one element as its input 0"):
        ingest(parse(COMPUTED))


@pytest.mark.parametrize("counts", [("", "3"), ("[1]", "3")], ids=["scalar", "vector"])
def test_a_loop_of_one_count(counts) -> None:
    assert ingest(loop(*counts, "", "1")).samples  # type: ignore[arg-type]


EINSUM = """<ir_version: 10, opset_import: ["":20]>
g (float[3,4] x) => (float[2,4] y) { y = Einsum<equation = "ij,jk->ik"> (, x) }"""
CLIP = """<ir_version: 10, opset_import: ["":20]>
g (float[2,3] x) => (float[2,3] y) <float m = {1.0}> { y = Clip (x, , m) }"""


def test_an_operand_that_is_left_out() -> None:
    with pytest.raises(ModelError, match=r"\(Einsum\) needs its input 0, which is left out"):
        ingest(parse(EINSUM))
    assert ingest(parse(CLIP)).samples


@pytest.mark.parametrize("version", [2**40, -(2**40), 0])
def test_a_version_that_does_not_exist(version: int) -> None:
    model = parse(CLIP)
    model.opset_imports[""] = version
    check_operands(model, "m")
