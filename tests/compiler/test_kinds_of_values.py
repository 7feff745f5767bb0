"""Models whose inputs and outputs are no plain tensors compile, run and agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from ingot.compiler.agreement import compare_with_reference
from ingot.compiler.build import compile_model
from ingot.compiler.ingest import ingest
from ingot.reference.session import Reference
from tests.onnx_graph.test_protos import vectorizer, zip_map

HEAD = '<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 3]>'
TEXTS = {
    "sequence": """s (seq(float[2, 3]) x) => (seq(float[2, 3]) y, float[6, 3] z) {
        y = Identity(x)  z = ConcatFromSequence<axis = 0>(x) }""",
    "optional": """o (float[2, 3] x) => (optional(float[2, 3]) y) {
        n = Neg(x)  y = Optional(n) }""",
    "strings": """t (string[N] x) => (string[N] y, int64[N] z) {
        z = ai.onnx.ml.LabelEncoder<keys_strings = ["a", "b"], values_int64s = [5, 6]>(x)
        y = Identity(x) }""",
    "bfloat16": """b (bfloat16[N, 8] x) => (bfloat16[N, 8] y) { y = Identity(x) }""",
    "float8": """e (float8e4m3fn[N, 8] x) => (float[N, 8] y) { f = Cast<to = 1>(x)  y = Abs(f) }""",
    "int4": """i (int4[N, 8] x) => (int8[N, 8] y) { y = Cast<to = 3>(x) }""",
    "mixed": """m (float[N, 3] x, string[N] s) => (float[N, 3] y, string[N] t) {
        y = Relu(x)  t = Identity(s) }""",
    "forms of constants": """f (float[2] x) => (float[2] y, float a, int64 b, float[2] c,
        int64[2] d, string e) {
        y = Relu(x)  a = Constant<value_float = 1.5>()  b = Constant<value_int = 3>()
        c = Constant<value_floats = [1.0, 2.0]>()  d = Constant<value_ints = [4, 5]>()
        e = Constant<value_string = "word">() }""",
}


def parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"{HEAD} {text}")


def unknown_rank() -> onnx.ModelProto:
    model = parsed("u (float[2, 3] x, int64[R] s) => (float y) { n = Relu(x) y = Reshape(n, s) }")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


MODELS = {
    **{name: parsed(text) for name, text in TEXTS.items()},
    "sequence of maps": zip_map(),
    "map": vectorizer(),
    "unknown rank": unknown_rank(),
}


@pytest.mark.parametrize("name", MODELS)
def test_they_agree_with_the_reference(name: str, tmp_path: Path) -> None:
    artifact = compile_model(MODELS[name], tmp_path / "m.ingot")
    assert artifact.manifest.measured["verification"]["ran"]
    source = ingest(MODELS[name], seed=5)
    with artifact.session() as session:
        outcome = compare_with_reference(session, source.original, source.samples, 1e-4)
    assert outcome["samples"] >= 2


def test_branches_take_what_the_main_graph_takes(tmp_path: Path) -> None:
    """A norm of several outputs, a shape and a further branch inside of a branch."""
    body = """
      then_branch = then () => (float[N, 8] r) {
        a = LayerNormalization<axis = -1>(x, w, b)
        r = If (d) <then_branch = one () => (float[N, 8] o) { o = Relu(a) },
                    else_branch = two () => (float[N, 8] p) { p, m, i = LayerNormalization(a, w) }>
      },
      else_branch = otherwise () => (float[N, 8] i) {
        s = Shape(x)  e = Expand(c, s)  f = Cast<to = 1>(e)  i = Mul(x, f)
      }"""
    weights = ", ".join(f"float[8] {name} = {{1, 2, 3, 4, 5, 6, 7, 8}}" for name in "wb")
    model = parsed(
        f"g (float[N, 8] x, bool c, bool d) => (float[N, 8] y) <{weights}> "
        f"{{ y = If (c) <{body}> }}"
    )
    artifact = compile_model(model, tmp_path / "m.ingot", fallback=False)
    assert not artifact.manifest.regions
    reference = Reference(model)
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    with artifact.session() as session:
        for c, d in ((True, True), (True, False), (False, True)):
            inputs = {"x": x, "c": np.array(c), "d": np.array(d)}
            expected = reference.run(inputs)["y"]
            np.testing.assert_allclose(session.run(inputs)["y"], expected, rtol=1e-4, atol=1e-5)


def test_nodes_without_names_are_named_by_their_operators() -> None:
    model = parsed("g (float[2] x) => (float[2] y) { a = Relu(x)  y = Neg(a) }")
    assert [node.name for node in ingest(model).original.graph] == ["Relu_0", "Neg_1"]
