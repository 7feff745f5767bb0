"""What the importer adds to TVM's: names in errors, shapes as outputs, branches."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

from ingot.errors import UnsupportedOperatorError
from ingot.reference.session import Reference
from ingot.targets.relax.importer import import_graph, unsupported_nodes
from tests.targets.cpu.conftest import Run


def parse(text: str, opsets: str = '"" : 20'):
    return parser.parse_model(f"<ir_version: 10, opset_import: [{opsets}]>\n{text}")


def test_each_node_without_lowering_is_named_before_anything_is_lowered() -> None:
    model = ir.from_proto(
        parse(
            """g (float[5,4] x) => (float[5,5] y) {
              [first] a = com.microsoft.CDist(x, x)
              [second] y = com.acme.Magic(a)
            }""",
            '"" : 20, "com.microsoft" : 1, "com.acme" : 1',
        )
    )
    assert [(entry.node, entry.operator) for entry in unsupported_nodes(model)] == [
        ("first", "com.microsoft.CDist"),
        ("second", "com.acme.Magic"),
    ]
    with pytest.raises(UnsupportedOperatorError, match="node 'first' and 1 more nodes"):
        import_graph(model)


def test_the_standard_attention_is_not_taken_for_the_contrib_one() -> None:
    text = "g (float[1,2,3] x) => (float[1,2,3] y) { [a] y = com.microsoft.Gelu(x) }"
    model = ir.from_proto(parse(text, '"" : 20, "com.microsoft" : 1'))
    assert unsupported_nodes(model) == []
    text = "g (float[1,2,3] x) => (float[1,2,3] y) { [a] y = BiasGelu(x, x) }"
    assert len(unsupported_nodes(ir.from_proto(parse(text)))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,3] x) => (int64[2] y) { y = Shape(x) }",
        """g (float[N,3] x) => (int64 y) {
          s = Shape(x) i = Constant<value = int64 {0}>() y = Gather(s, i) }""",
        "g (float[N,3] x) => (int64[1] y) { y = Shape<start = 1>(x) }",
        "g (float[N,3] x) => (int64[1] y) { y = Shape<start = -2, end = -1>(x) }",
        """g (float[N,3] x) => (int64[2] y) {
          s = Shape(x) two = Constant<value = int64[1] {2}>()
          a = Add(s, two) b = Mul(a, s) c = Sub(b, two) y = Div(c, s) }""",
        """g (float[N,3] x) => (float[K,3] y) {
          s = Shape<end = 1>(x) one = Constant<value = int64[1] {1}>()
          zero = Constant<value = int64[1] {0}>() e = Sub(s, one) y = Slice(x, zero, e, zero) }""",
        """g (float[N,3] x) => (float[2] y) {
          s = Shape(x) f = Cast<to = 1>(s) y = Sqrt(f) }""",
        "g (float[N,3] x) => (int64[2] y) { s = Shape(x) y = Neg(s) }",
        """g (float[N,3] x) => (float[N,3] y) {
          s = Shape(x) n = Neg(s) p = Neg(n) a = Reshape(x, s) b = Reshape(a, s) y = Abs(b) }""",
        """g (float[N,3] x) => (int64[N] y) {
          zero = Constant<value = int64 {0}>() one = Constant<value = int64 {1}>()
          s = Shape<end = 1>(x) n = Squeeze(s) y = Range(zero, n, one) }""",
        "g (float[N,3] x) => (int64[2,K] y) { y = NonZero(x) }",
        """g (float[N,3] x) => (float[N,3] y) {
          a = Constant<value = int64 {1}>() y = CumSum(x, a) }""",
        "g (float[N,3] x) => (bool[N,3] y) { y = Greater(x, x) }",
        "g (float[N,3] x) => (float[N,3] y) { y = Identity(x) }",
    ],
    ids=[
        "shape",
        "dimension",
        "shape from",
        "shape between",
        "shape arithmetic",
        "slice to a sum",
        "root of a shape",
        "negative shape",
        "both ways",
        "range",
        "data-dependent shape",
        "no blocks",
        "boolean",
        "identity",
    ],
)
def test_unusual_outputs(run_on_cpu: Run, text: str) -> None:
    model = parse(text)
    data = np.array([[1, 0, 2], [0, 3, 4]], np.float32)
    expected = Reference(model).run({"x": data})["y"]
    (actual,) = run_on_cpu(model, data)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def test_a_scalar_weight_stays_a_scalar(run_on_cpu: Run) -> None:
    model = parse("""g (float[N,3] x) => (float[3] y)
        <int64 first = {0}> { y = Gather(x, first) }""")
    (actual,) = run_on_cpu(model, np.array([[1, 2, 3]], np.float32))
    assert actual.shape == (3,)


@pytest.mark.parametrize(("size", "expected"), [(1, [2, 4]), (3, [1, 3, 3])])
def test_a_branch_on_known_sizes_is_chosen_before_the_model_runs(
    run_on_cpu: Run, size: int, expected: list[float]
) -> None:
    model = parse(f"""g (float[{size},2] x) => (float[K] y) {{
      s = Shape(x) zero = Constant<value = int64 {{0}}>() one = Constant<value = int64 {{1}}>()
      n = Gather(s, zero) single = Equal(n, one)
      a = Constant<value = int64[1] {{0}}>()
      y = If(single) <
        then_branch = t () => (float[K] p) {{ q = Squeeze(x, a) p = Add(q, q) }},
        else_branch = e () => (float[K] r) {{ c = Constant<value = int64 {{0}}>()
          r = Gather<axis = 1>(x, c) }}
      > }}""")
    data = np.array([[1, 2], [3, 4], [3, 4]], np.float32)[:size]
    (actual,) = run_on_cpu(model, data)
    assert actual.tolist() == expected
