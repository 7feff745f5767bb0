"""What of a model is no text is refused by its place, wherever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from ingot.compiler.ingest import ingest
from ingot.errors import ModelError
from tests.conftest import small_network


def renamed_node(model: onnx.ModelProto) -> None:
    model.graph.node[0].name = "MARK"


def renamed_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].name = "MARK"


def another_location(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="MARK")


def another_input(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "MARK"


def a_dimension(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "MARK"


def a_domain(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="MARK", version=1)


def in_a_branch(model: onnx.ModelProto) -> None:
    inner = onnx.helper.make_node("Identity", ["x"], ["y"], "MARK")
    graph = onnx.helper.make_graph([inner], "g", [], [])
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("then_branch", graph))


def a_note(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="k", value="MARK")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (renamed_node, "NodeProto.name"),
        (renamed_weight, "TensorProto.name"),
        (another_location, "StringStringEntryProto.value"),
        (another_input, "NodeProto.input"),
        (a_dimension, "Dimension.dim_param"),
        (a_domain, "OperatorSetIdProto.domain"),
        (in_a_branch, "NodeProto.name"),
        (a_note, "StringStringEntryProto.value"),
    ],
)
def test_text_that_is_no_utf_8(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], place: str
) -> None:
    model = small_network()
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(b"MARK", b"M\xff\xfeK"))
    with pytest.raises(ModelError, match=rf"text of a {place}, is no UTF-8"):
        ingest(path)
    proto = onnx.ModelProto.FromString(path.read_bytes())
    with pytest.raises(ModelError, match="is no UTF-8"):
        ingest(proto)


def test_text_of_other_scripts_is_text(tmp_path: Path) -> None:
    model = small_network()
    model.graph.node[0].name = "слой 层"
    assert ingest(model).samples
