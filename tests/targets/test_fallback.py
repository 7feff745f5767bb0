"""Models of which a part, or all, is run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from ingot.compiler.build import Artifact, compile_model
from ingot.errors import InputError, ModelError, UnsupportedOperatorError
from ingot.runtime.manifest import CODE_MEMBER
from ingot.targets.trial import failing_nodes
from tests.graphs import parse

_GENERATOR = np.random.default_rng(0)
_NODE = helper.make_node
_ML = helper.make_opsetid("ai.onnx.ml", 3)


def _weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((_GENERATOR.normal(size=shape) * 0.2).astype(np.float32), name)


def _value(name: str, shape: Sequence[int | str], dtype: int = T.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "parts", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), _ML], ir_version=8)


def _expected(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> dict[str, Any]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([v.name for v in model.graph.output], session.run(None, feeds), strict=True))


def _assert_agrees(artifact: Artifact, model: onnx.ModelProto, feeds: Mapping[str, Any]) -> None:
    expected = _expected(model, feeds)
    with artifact.session() as session:
        for _ in range(2):
            actual = session.run(feeds)
            assert list(actual) == list(expected)
            for name, array in expected.items():
                if array.dtype.kind == "f":
                    np.testing.assert_allclose(actual[name], array, rtol=1e-4, atol=1e-5)
                else:
                    np.testing.assert_array_equal(actual[name], array)


# A convolution, which is compiled, before the rest.
_CONVOLUTION = _NODE("Conv", ["x", "w"], ["a"], "conv", pads=[1, 1, 1, 1])
_IMAGE = _value("x", ["n", 3, 8, 8])
_FILTERS = _weight("w", 16, 3, 3, 3)


def _detour() -> onnx.ModelProto:
    """Convolution, a region that makes a tensor, convolution."""
    nodes = [
        _CONVOLUTION,
        _NODE("TfIdfVectorizer", ["tokens"], ["counts"], "counts", max_gram_length=1,
              max_skip_count=0, min_gram_length=1, mode="TF", ngram_counts=[0],
              ngram_indexes=list(range(16)), pool_int64s=list(range(16))),
        _NODE("Unsqueeze", ["counts", "axes"], ["u"], "unsqueeze"),
        _NODE("Mul", ["a", "u"], ["m"], "gate"),
        _NODE("Conv", ["m", "v"], ["y"], "conv2"),
    ]  # fmt: skip
    inputs = [_IMAGE, _value("tokens", ["n", "t"], T.INT64)]
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    outputs = [_value("y", ["n", 4, 6, 6])]
    return _model(nodes, inputs, outputs, [_FILTERS, _weight("v", 4, 16, 3, 3), axes])


def _loop() -> onnx.ModelProto:
    """A loop whose body reads what is compiled."""
    body = helper.make_graph(
        [_NODE("Identity", ["c"], ["go"]), _NODE("Add", ["s", "a"], ["sum"])],
        "body",
        [_value("i", [], T.INT64), _value("c", [], T.BOOL), _value("s", ["n", 16, 8, 8])],
        [_value("go", [], T.BOOL), _value("sum", ["n", 16, 8, 8])],
    )
    nodes = [_CONVOLUTION, _NODE("Loop", ["trips", "", "a"], ["y"], "loop", body=body)]
    trips = numpy_helper.from_array(np.array(3), "trips")
    return _model(nodes, [_IMAGE], [_value("y", ["n", 16, 8, 8])], [_FILTERS, trips])


def _labels() -> onnx.ModelProto:
    """Strings as an output, beside a compiled one."""
    nodes = [
        _CONVOLUTION,
        _NODE("GlobalAveragePool", ["a"], ["g"], "pool"),
        _NODE("Flatten", ["g"], ["scores"], "flatten"),
        _NODE("ArgMax", ["scores"], ["best"], "best", axis=1),
        _NODE("LabelEncoder", ["best"], ["label"], "label", domain="ai.onnx.ml",
              keys_int64s=list(range(16)), values_strings=[f"class {i}" for i in range(16)]),
    ]  # fmt: skip
    outputs = [_value("label", ["n", 1], T.STRING), _value("scores", ["n", 16])]
    return _model(nodes, [_IMAGE], outputs, [_FILTERS])


def _chain() -> onnx.ModelProto:
    """Two regions, compiled work between them, and a value that goes from one to the other."""
    nodes = [
        _CONVOLUTION,
        _NODE("Det", ["a"], ["d"], "first"),
        _NODE("MatMul", ["d", "v"], ["m"], "between"),
        _NODE("Loop", ["trips", "", "d"], ["l"], "second", body=helper.make_graph(
            [_NODE("Identity", ["c"], ["go"]), _NODE("Add", ["s", "m"], ["sum"])], "body",
            [_value("i", [], T.INT64), _value("c", [], T.BOOL), _value("s", ["n", 16])],
            [_value("go", [], T.BOOL), _value("sum", ["n", 16])])),
        _NODE("MatMul", ["l", "v"], ["y"], "last"),
    ]  # fmt: skip
    trips = numpy_helper.from_array(np.array(2), "trips")
    small = _weight("w", 16, 3, 3, 3)
    return _model(nodes, [_IMAGE], [_value("y", ["n", 16])], [small, _weight("v", 16, 16), trips])


def _image(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(batch).normal(size=(batch, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("model", "feeds", "left"),
    [
        (
            _detour(),
            {"x": _image(), "tokens": np.array([[1, 2, 2], [15, 0, 3]])},
            {"counts"},
        ),
        (_loop(), {"x": _image(3)}, {"loop"}),
        (_labels(), {"x": _image(1)}, {"label"}),
    ],
    ids=["detour", "loop", "strings"],
)
def test_a_part_is_run_by_onnx_runtime(
    tmp_path: Path, model: onnx.ModelProto, feeds: dict[str, np.ndarray], left: set[str]
) -> None:
    artifact = compile_model(model, tmp_path / "parts.ingot")
    (region,) = artifact.manifest.regions.values()
    assert region.executor == "onnxruntime"
    assert left <= set(region.nodes) and "conv" not in region.nodes
    (entry,) = artifact.manifest.placement["onnxruntime"]["left"]
    assert entry["node"] in left and entry["reason"]
    _assert_agrees(artifact, model, feeds)


def test_a_region_reads_what_another_one_made(tmp_path: Path) -> None:
    unverified = {"verify": {"enabled": False}}
    artifact = compile_model(_chain(), tmp_path / "chain.ingot", recipe=unverified)
    regions = artifact.manifest.regions.values()
    # The rank of what the loop makes is not known, so that what reads it goes with it.
    assert [region.nodes for region in regions] == [("first",), ("second", "last")]
    _assert_agrees(artifact, _chain(), {"x": _image() * 0.1})


def test_a_branch_within_a_branch_may_read_what_its_region_makes(tmp_path: Path) -> None:
    """As in voice detectors: an If makes what the branches of the next one read."""

    def branch(name: str, operator: str, source: str) -> onnx.GraphProto:
        node = _NODE(operator, [source], [f"{name}_r"])
        return helper.make_graph([node], name, [], [_value(f"{name}_r", None)])  # type: ignore[arg-type]

    nodes = [
        _CONVOLUTION,
        _NODE("ReduceMax", ["a"], ["most"], "most", keepdims=0),
        _NODE("Greater", ["most", "zero"], ["is"], "is"),
        _NODE("If", ["is"], ["i"], "one", then_branch=branch("p", "Det", "a"),
              else_branch=branch("q", "Identity", "a")),
        _NODE("If", ["is"], ["y"], "two", then_branch=branch("r", "Neg", "i"),
              else_branch=branch("s", "Exp", "i")),
    ]  # fmt: skip
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    output = _value("y", None)  # type: ignore[arg-type]
    model = _model(nodes, [_IMAGE], [output], [_FILTERS, zero])
    artifact = compile_model(model, tmp_path / "branches.ingot")
    (region,) = artifact.manifest.regions.values()
    assert {"one", "two"} <= set(region.nodes)
    _assert_agrees(artifact, model, {"x": _image()})


def test_a_weight_that_both_read_is_stored_once(tmp_path: Path) -> None:
    shared = _weight("w", 64, 64)
    nodes = [
        _NODE("MatMul", ["x", "w"], ["a"], "matmul"),
        _NODE("Mul", ["a", "w"], ["m"], "mul"),
        _NODE("Scan", ["zero", "w"], ["last", "y"], "scan", num_scan_inputs=1,
              body=helper.make_graph(
                  [_NODE("Add", ["s", "row"], ["next"]), _NODE("Identity", ["next"], ["out"])],
                  "body", [_value("s", [64]), _value("row", [64])],
                  [_value("next", [64]), _value("out", [64])])),
        _NODE("MatMul", ["m", "y"], ["z"], "matmul2"),
    ]  # fmt: skip
    zero = numpy_helper.from_array(np.zeros(64, np.float32), "zero")
    model = _model(nodes, [_value("x", [64, 64])], [_value("z", [64, 64])], [shared, zero])
    recipe = {"passes": [], "simplify": False}
    artifact = compile_model(model, tmp_path / "shared.ingot", recipe=recipe)
    assert set(artifact.manifest.regions)
    assert artifact.manifest.members["params.safetensors"].size < 2 * 64 * 64 * 4 + 4096
    feeds = {"x": np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32) * 0.1}
    _assert_agrees(artifact, model, feeds)


def test_a_model_without_a_compiled_node_has_no_code(tmp_path: Path) -> None:
    scaler = _NODE("Scaler", ["x"], ["y"], "scaler", domain="ai.onnx.ml", offset=[0.5], scale=[2.0])
    model = _model([scaler], [_value("x", ["n", 4])], [_value("y", ["n", 4])])
    artifact = compile_model(model, tmp_path / "whole.ingot")
    assert CODE_MEMBER not in artifact.manifest.members
    _assert_agrees(artifact, model, {"x": np.ones((3, 4), np.float32)})


def test_without_fallback_all_nodes_are_named_with_their_reasons(tmp_path: Path) -> None:
    model = _labels()
    extra = _NODE("TfIdfVectorizer", ["best"], ["t"], "counts", max_gram_length=1,
                  max_skip_count=0, min_gram_length=1, mode="TF", ngram_counts=[0],
                  ngram_indexes=[0], pool_int64s=[0])  # fmt: skip
    model.graph.node.append(extra)
    model.graph.output.append(_value("t", ["n", 1]))
    path = tmp_path / "none.ingot"
    with pytest.raises(UnsupportedOperatorError) as caught:
        compile_model(model, path, fallback=False)
    said = str(caught.value)
    assert "'label' (ai.onnx.ml.LabelEncoder)" in said and "'counts' (TfIdfVectorizer)" in said
    assert "fallback" in said and "\n" not in said
    assert not path.exists()


def test_what_a_region_cannot_run_is_an_input_error(tmp_path: Path) -> None:
    nodes = [
        _CONVOLUTION,
        _NODE("ReduceSum", ["a", "all"], ["sum"], "sum", keepdims=0),
        _NODE("SplitToSequence", ["tokens", "parts"], ["s"], "split"),
        _NODE("SequenceAt", ["s", "i"], ["first"], "first"),
        _NODE("Cast", ["first"], ["f"], "cast", to=T.FLOAT),
        _NODE("Mul", ["sum", "f"], ["y"], "mul"),
    ]
    weights = [
        _FILTERS,
        numpy_helper.from_array(np.array([1, 2, 3]), "all"),
        numpy_helper.from_array(np.array(1), "parts"),
    ]
    inputs = [_IMAGE, _value("tokens", [2], T.INT64), _value("i", [], T.INT64)]
    model = _model(nodes, inputs, [_value("y", ["n"])], weights)
    unverified = {"verify": {"enabled": False}}
    artifact = compile_model(model, tmp_path / "index.ingot", recipe=unverified)
    with artifact.session() as session:
        feeds = {"x": _image(1), "tokens": np.array([3, 4]), "i": np.array(1)}
        assert session.run(feeds)["y"].shape == (1,)
        with pytest.raises(InputError, match="cannot run on these inputs"):
            session.run({**feeds, "i": np.array(7)})
        assert session.run(feeds)["y"].shape == (1,)


class _FailsAlone:
    """A target that fails on one operator, and says no more of it."""

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.tried: list[str] = []

    def try_lower(self, model: ir.Model, *, machine_code: bool) -> None:
        from ingot.errors import CompilationError

        (node,) = model.graph
        self.tried.append(node.op_type)
        if node.op_type == self.operator:
            raise CompilationError("no code")


def test_the_node_that_makes_a_graph_fail_is_found_alone() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2, 3] x) => (float[2, 3] y) { a = Relu(x) b = Neg(a) c = Relu(b) y = Erf(c) }
        """
    )
    for node in model.graph:
        node.name = str(node.outputs[0].name)
    target = _FailsAlone("Neg")
    (found,) = failing_nodes(target, model)  # type: ignore[arg-type]
    assert (found.node, found.operator, found.reason) == (
        "b",
        "Neg",
        "no code can be generated for it",
    )
    assert target.tried == ["Relu", "Neg", "Erf"]  # equal nodes are tried once


def test_a_quantized_model_keeps_its_regions(tmp_path: Path) -> None:
    calibration = [{"x": _image(1)} for _ in range(4)]
    artifact = compile_model(
        _labels(), tmp_path / "int8.ingot", quantize="int8", calibration=calibration
    )
    (region,) = artifact.manifest.regions.values()
    assert region.nodes == ("label",)
    assert artifact.manifest.precision["layers"] == {"conv": "int8"}
    assert artifact.manifest.measured["verification"]["ran"]


def test_an_npu_a_cpu_and_onnx_runtime_share_a_model(tmp_path: Path) -> None:
    pytest.importorskip("ethosu.regor")
    calibration = [{"x": _image(1)} for _ in range(4)]
    artifact = compile_model(
        _labels(), tmp_path / "npu.ingot", target="npu:ethos-u55-256", quantize="int8",
        calibration=calibration,
    )  # fmt: skip
    executors = {region.executor for region in artifact.manifest.regions.values()}
    assert executors == {"npu", "onnxruntime"}
    assert artifact.manifest.placement["cpu"]["nodes"]
    (label,) = artifact.session().run({"x": _image(1)})["label"][0]
    (expected,) = _expected(_labels(), {"x": _image(1)})["label"][0]
    assert label == expected


def test_an_npu_that_would_run_nothing_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ethosu.regor")
    scaler = _NODE("Scaler", ["x"], ["y"], "scaler", domain="ai.onnx.ml", offset=[0.5], scale=[2.0])
    model = _model([scaler], [_value("x", [1, 4])], [_value("y", [1, 4])])
    with pytest.raises(ModelError):
        compile_model(model, tmp_path / "npu.ingot", target="npu:ethos-u55-256")
