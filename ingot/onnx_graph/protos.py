"""From protobuf to onnx_ir and back, with what onnx_ir does not read.

onnx_ir knows no map types and no sparse tensors, of which ONNX-ML's models and older exporters make
use. A map's type goes with its value as metadata, and returns on the way back; a sparse constant
becomes a dense one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from ingot.errors import ModelError, first_line, root_cause

_TYPE_KEY = "ingot.type"
_MOST_BYTES = 2**31 - 1


def load_proto(path: Path) -> onnx.ModelProto:
    """Reads the message in a file, without external data.

    Raises:
        ModelError: There is no such file, or it holds no model.
    """
    try:
        if not path.is_file():
            raise ModelError(f"there is no model file {path}")
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(
                f"{path} is not an ONNX model: it is above 2 GB, where a message ends; weights of "
                "more belong into files beside it (external data)"
            )
        return onnx.load(path, load_external_data=False)
    except (DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not an ONNX model, or is damaged or cut short") from error
    except ModelError:
        raise
    except Exception as error:
        # The readers of ONNX's textual forms raise errors of their own.
        raise ModelError(
            f"{path} cannot be read as ONNX: {first_line(root_cause(error))}"
        ) from error


def read_proto(proto: onnx.ModelProto) -> ir.Model:
    """Deserializes a model; the proto is not changed.

    Raises:
        ModelError: A sparse constant is damaged.
    """
    if any(_is_odd(graph) for graph in _graphs(proto.graph)):
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        for graph in _graphs(copy.graph):
            _make_dense(graph)
            for value in (*graph.input, *graph.output, *graph.value_info):
                _put_type_aside(value)
        proto = copy
    return ir.from_proto(proto)


def write_proto(model: ir.Model) -> onnx.ModelProto:
    """Serializes a model; it is not changed."""
    proto: onnx.ModelProto = ir.to_proto(model)
    for graph in _graphs(proto.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            _restore_type(value)
    return proto


def map_type(value: ir.Value) -> onnx.TypeProto | None:
    """The type of a value that holds a map; None for any other value."""
    stored = value.metadata_props.get(_TYPE_KEY)
    return None if stored is None else onnx.TypeProto.FromString(base64.b64decode(stored))


def has_maps(model: ir.Model) -> bool:
    """Whether values of a model hold maps, so that only ``write_proto`` writes it whole."""
    return any(
        map_type(value) is not None
        for graph in model.graphs()
        for value in (*graph.inputs, *(v for node in graph for v in node.outputs))
    )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _is_odd(graph: onnx.GraphProto) -> bool:
    return (
        bool(graph.sparse_initializer)
        or any(map(_holds_map, (v.type for v in (*graph.input, *graph.output, *graph.value_info))))
        or any(a.HasField("sparse_tensor") for node in graph.node for a in node.attribute)
    )


def _holds_map(kind: onnx.TypeProto) -> bool:
    if kind.HasField("sequence_type"):
        return _holds_map(kind.sequence_type.elem_type)
    if kind.HasField("optional_type"):
        return _holds_map(kind.optional_type.elem_type)
    return kind.HasField("map_type")


def _put_type_aside(value: onnx.ValueInfoProto) -> None:
    if _holds_map(value.type):
        stored = base64.b64encode(value.type.SerializeToString(deterministic=True)).decode()
        value.metadata_props.add(key=_TYPE_KEY, value=stored)
        value.ClearField("type")


def _restore_type(value: onnx.ValueInfoProto) -> None:
    for index, entry in enumerate(value.metadata_props):
        if entry.key == _TYPE_KEY:
            value.type.ParseFromString(base64.b64decode(entry.value))
            del value.metadata_props[index]
            return


def _make_dense(graph: onnx.GraphProto) -> None:
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse, sparse.values.name))
    graph.ClearField("sparse_initializer")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") and node.op_type == "Constant":
                tensor = _dense(attribute.sparse_tensor, "")
                attribute.Clear()
                attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _dense(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """A sparse tensor's elements, whose indices are linear or a row for each element."""
    try:
        values = numpy_helper.to_array(sparse.values)
        indices = numpy_helper.to_array(sparse.indices)
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        where = np.unravel_index(indices, dense.shape) if indices.ndim == 1 else tuple(indices.T)
        dense[where] = values
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError(f"sparse constant {name!r} is damaged: {error}") from error
    return numpy_helper.from_array(dense, name)
