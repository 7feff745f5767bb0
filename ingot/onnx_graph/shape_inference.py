"""Shapes and types of a graph's values, by onnx's shape inference."""

from __future__ import annotations

import logging

import onnx
import onnx_ir as ir

from ingot.onnx_graph.detached_weights import detach_weights
from ingot.onnx_graph.protos import read_proto

_LOGGER = logging.getLogger(__name__)


def infer_shapes(model: ir.Model) -> None:
    """Infers the shapes and types of all values, in place; leaves the model where that fails.

    Types of sequences and optionals are kept as such: onnx_ir's own pass writes down those of
    their elements.
    """
    message, _ = detach_weights(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(
            onnx.load_from_string(message), check_type=True, strict_mode=True, data_prop=True
        )
    except Exception as error:  # noqa: BLE001
        # It raises errors of its own from C++. What is not inferred stays as it was declared.
        _LOGGER.debug("shape inference failed: %s", error)
        return
    for graph, found in zip(model.graphs(), read_proto(inferred).graphs(), strict=True):
        known = ir.convenience.create_value_mapping(found)
        for name, value in ir.convenience.create_value_mapping(graph).items():
            if name not in known:
                continue
            if known[name].type is not None:
                value.type = known[name].type
            if known[name].shape is not None:
                value.shape = known[name].shape
