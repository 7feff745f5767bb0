"""Weights beside a model's file are read only where they may lie, and never without end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.compiler.ingest import ingest
from ingot.errors import ModelError

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


def save(folder: Path, *, place: str = "initializer", **entries: str) -> Path:
    """A model whose weight lies in ``weights.bin``, or where ``entries`` say."""
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_bytes(WEIGHT.tobytes())
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=WEIGHT.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, entry in {"location": "weights.bin", **entries}.items():
        tensor.external_data.add(key=key, value=entry)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")]
    if place == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["w"], "constant", value=tensor))
    if place == "branch":
        inner = helper.make_node("Identity", ["w"], ["o"], "inner")
        shape = helper.make_tensor_value_info("o", TensorProto.FLOAT, [3, 4])
        branch = helper.make_graph([inner], "b", [], [shape], [tensor])
        chosen = helper.make_node("If", ["c"], ["v"], "if", then_branch=branch, else_branch=branch)
        nodes = [chosen, helper.make_node("MatMul", ["x", "v"], ["y"], "matmul")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [tensor] if place == "initializer" else [],
    )
    if place == "branch":
        graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_strings_lie_in_no_file(tmp_path: Path) -> None:
    path = save(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[0].data_type = TensorProto.STRING
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="is of strings, which have no size"):
        ingest(path)


def expect_whole(source: object) -> None:
    (sample, *_) = ingest(source).samples  # type: ignore[arg-type]
    np.testing.assert_allclose(sample.outputs["y"], sample.inputs["x"] @ WEIGHT, rtol=1e-5)


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"location": "/dev/zero"}, "not in the model's folder"),
        ({"location": "../outside.bin"}, "not in the model's folder"),
        ({"location": "out"}, "not in the model's folder"),
        ({"location": "folder/../../outside.bin"}, "not in the model's folder"),
        ({"location": ""}, "not in the model's folder"),
        ({"location": "a\0b"}, "not in the model's folder"),
        ({"location": "fifo"}, "no regular file"),
        ({"location": "folder"}, "no regular file"),
        ({"location": "none"}, "No such file"),
        ({"location": "x" * 300}, "File name too long"),
        ({"location": "loop"}, "Too many levels of symbolic links|not in the model's folder"),
        ({"offset": "4"}, "cut short"),
        ({"offset": str(2**80)}, "cut short"),
        ({"offset": "-4"}, "no number"),
        ({"offset": "four"}, "no number"),
        ({"length": "44"}, "needs 48 bytes"),
        ({"length": str(2**62)}, "needs 48 bytes"),
    ],
)
def test_where_data_may_not_lie(
    tmp_path: Path, place: str, entries: dict[str, str], reason: str
) -> None:
    path = save(tmp_path / "m", place=place, **entries)
    (tmp_path / "outside.bin").write_bytes(WEIGHT.tobytes())
    (path.parent / "out").symlink_to(tmp_path / "outside.bin")
    (path.parent / "folder").mkdir()
    (path.parent / "loop").symlink_to("loop")
    os.mkfifo(path.parent / "fifo")
    with pytest.raises(ModelError, match=reason) as raised:
        ingest(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_data_in_the_folder_is_read(tmp_path: Path, place: str) -> None:
    path = save(tmp_path / "m", place=place, location="in/weights.bin", offset="0", length="48")
    (path.parent / "in").mkdir()
    shutil.move(path.parent / "weights.bin", path.parent / "in")
    expect_whole(path)


def test_model_and_data_may_be_links_to_one_other_folder(tmp_path: Path) -> None:
    """As download caches keep files: a snapshot of links to a store."""
    path = save(tmp_path / "store")
    (tmp_path / "snapshot").mkdir()
    for name in ("model.onnx", "weights.bin"):
        (tmp_path / "snapshot" / name).symlink_to(path.parent / name)
    expect_whole(tmp_path / "snapshot" / "model.onnx")


def test_a_model_in_memory_is_held_to_the_same(tmp_path: Path, monkeypatch) -> None:
    path = save(tmp_path / "m")
    opened = ir.load(path)
    expect_whole(opened)
    proto = onnx.load(path, load_external_data=False)
    with pytest.raises(ModelError, match=r"weights\.bin, which cannot be read"):
        ingest(proto)
    monkeypatch.chdir(path.parent)
    expect_whole(proto)
    (path.parent / "weights.bin").unlink()
    os.mkfifo(path.parent / "weights.bin")
    for source in (ir.load(path), proto):
        with pytest.raises(ModelError, match="no regular file"):
            ingest(source)
