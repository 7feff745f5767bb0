"""Shapes and types of a graph's values, by onnx's shape inference."""

from __future__ import annotations

import logging

import onnx
import onnx_ir as ir

from ingot.errors import ModelError
from ingot.onnx_graph.detached_weights import detach_weights
from ingot.onnx_graph.isolation import ForeignCrash, ForeignError, run_isolated
from ingot.onnx_graph.protos import read_proto

_LOGGER = logging.getLogger(__name__)

# Of a child that infers: a large graph without its weights takes some tens of megabytes and a
# second or two.
_CHILD_BYTES = 2 << 30
_CHILD_BYTES_PER_BYTE = 32
_CHILD_SECONDS = 60.0
_CHILD_SECONDS_PER_BYTE = 1e-6
_CLEAN, _PART, _NO_ROOM = b"\0", b"\1", b"\2"


def infer_shapes(model: ir.Model, *, trusted: bool = False) -> bool:
    """Infers the shapes and types of all values, in place; leaves the model where that fails.

    onnx's code ends its process on some attributes and ranks, and makes room for whatever a graph
    claims. It runs in a child, unless the model is trusted.

    Types of sequences and optionals are kept as such: onnx_ir's own pass writes down those of
    their elements.

    Args:
        model: The model.
        trusted: Whether the model was made here from one that inference went well on.

    Returns:
        Whether inference went well.

    Raises:
        ModelError: It ends its process, or takes more memory or time than it may.
    """
    message, _ = detach_weights(model)
    try:
        answer = _infer(message) if trusted else _infer_isolated(message)
    except ForeignCrash as crash:
        raise ModelError(
            f"{_culprit(message)} cannot be handled: its attributes and the ranks of its inputs do "
            f"not fit each other, or claim too much (onnx's shape inference: {crash})"
        ) from crash
    except (ForeignError, MemoryError) as error:
        _LOGGER.debug("shape inference failed: %s", error)
        return False
    if answer[:1] == _NO_ROOM:
        raise ModelError(
            f"the graph claims tensors that there is no room for: onnx's shape inference takes "
            f"more than {_CHILD_BYTES >> 30} GiB"
        )
    if answer == _PART:
        return False
    _adopt(model, onnx.load_from_string(answer[1:]))
    return answer[:1] == _CLEAN


def _infer(message: bytes) -> bytes:
    """A mark, and the inferred model where there is one.

    Contents of shapes are followed where there is room for that: a Range may be of any length.
    Where what is declared contradicts itself, what follows from inputs and weights counts.
    """
    follow, declared = True, True
    while True:
        proto = onnx.load_from_string(message)
        if not declared:
            _forget_declared(proto.graph)
        try:
            inferred = onnx.shape_inference.infer_shapes(
                proto, check_type=True, strict_mode=True, data_prop=follow
            )
            return (_CLEAN if follow and declared else _PART) + inferred.SerializeToString()
        except MemoryError:
            if not follow:
                return _NO_ROOM
            follow = False
        except Exception as error:  # noqa: BLE001
            # It raises errors of its own from C++. What is not inferred stays as it was declared.
            _LOGGER.debug("shape inference failed: %s", error)
            if not declared:
                return _PART
            declared = False


def _forget_declared(graph: onnx.GraphProto) -> None:
    """Removes the shapes of what a graph computes, and keeps the types of its outputs."""
    graph.ClearField("value_info")
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def _infer_isolated(message: bytes) -> bytes:
    return run_isolated(
        lambda: _infer(message),
        memory_bytes=_CHILD_BYTES + _CHILD_BYTES_PER_BYTE * len(message),
        seconds=_CHILD_SECONDS + _CHILD_SECONDS_PER_BYTE * len(message),
    )


def _culprit(message: bytes) -> str:
    """The first node with which inference ends its process: the longest prefix of nodes is good."""
    proto = onnx.load_from_string(message)
    good, bad = 0, len(proto.graph.node)
    while bad - good > 1:
        middle = (good + bad) // 2
        prefix = onnx.ModelProto()
        prefix.CopyFrom(proto)
        del prefix.graph.node[middle:]
        try:
            _infer_isolated(prefix.SerializeToString())
            good = middle
        except ForeignCrash:
            bad = middle
    node = proto.graph.node[good]
    return f"node {node.name!r} ({node.op_type})"


def _adopt(model: ir.Model, inferred: onnx.ModelProto) -> None:
    for graph, found in zip(model.graphs(), read_proto(inferred).graphs(), strict=True):
        known = ir.convenience.create_value_mapping(found)
        for name, value in ir.convenience.create_value_mapping(graph).items():
            if name not in known:
                continue
            if known[name].type is not None:
                value.type = known[name].type
            if known[name].shape is not None:
                value.shape = known[name].shape
