"""A model without its large weights: they are handed to ONNX Runtime where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.protos import write_proto

# Smaller weights stay in the message, where shape inference looks for the contents of shapes.
_DETACHED_FROM = 1024
_DETACHED_DTYPES = (
    ir.DataType.FLOAT,
    ir.DataType.FLOAT16,
    ir.DataType.DOUBLE,
    ir.DataType.INT8,
    ir.DataType.UINT8,
    ir.DataType.INT32,
    ir.DataType.INT64,
)


def detach_weights(model: ir.Model) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """Serializes a model without its large weights.

    Copying hundreds of megabytes into a message and out of it again would take longer than a run,
    and a message ends at 2 GB. Weights that nothing reads are left out: ONNX Runtime looks for each
    one that it is given in the graph, from which it has removed these.

    Args:
        model: The model; not changed.

    Returns:
        The message, and those weights by name; ``add_external_initializers`` takes them.
    """
    copy = model.clone()
    for graph in copy.graphs():
        for name in [name for name, weight in graph.initializers.items() if _is_unread(weight)]:
            del graph.initializers[name]
    detached: dict[str, npt.NDArray[Any]] = {}
    for graph in copy.graphs():
        for name, weight in graph.initializers.items():
            tensor = weight.const_value
            if tensor is None:
                continue
            if graph is copy.graph and _can_be_detached(tensor):
                detached[name] = np.ascontiguousarray(tensor.numpy())
                weight.const_value = ir.ExternalTensor(
                    "lent",
                    0,
                    tensor.nbytes,
                    tensor.dtype,
                    shape=ir.Shape(tensor.shape.numpy()),
                    name=name,
                )
            elif isinstance(tensor, ir.ExternalTensor):
                weight.const_value = ir.Tensor(
                    tensor.numpy(), dtype=tensor.dtype, shape=tensor.shape, name=name
                )
    return write_proto(copy).SerializeToString(), detached


def _is_unread(weight: ir.Value) -> bool:
    return not (weight.uses() or weight.is_graph_output() or weight.is_graph_input())


def _can_be_detached(tensor: ir.TensorProtocol) -> bool:
    return tensor.nbytes >= _DETACHED_FROM and tensor.dtype in _DETACHED_DTYPES
