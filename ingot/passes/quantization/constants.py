"""Constants of a graph: added under a free name."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from ingot.passes.fusion.rewriting import Names


def add_initializer(
    graph: ir.Graph, names: Names, wanted: str, array: npt.NDArray[Any]
) -> ir.Value:
    """Adds an initializer to a graph.

    Args:
        graph: The graph.
        names: The model's names.
        wanted: The name, or the beginning of one if it is taken.
        array: The elements.
    """
    name = names.fresh(wanted)
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(array.shape),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value
