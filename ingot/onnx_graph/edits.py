"""Edits of an ONNX graph: names that are free, and new initializers."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import onnx_ir as ir


class Names:
    """The names that are taken in a model, by nodes and values of all of its graphs."""

    def __init__(self, model: ir.Model) -> None:
        self._taken: set[str] = set()
        for graph in model.graphs():
            for value in (*graph.inputs, *graph.initializers.values()):
                self._taken.add(value.name or "")
            for node in graph:
                self._taken.add(node.name or "")
                self._taken.update(output.name or "" for output in node.outputs)

    def fresh(self, wanted: str) -> str:
        """Takes ``wanted``, or ``wanted_2``, ``wanted_3`` and so on when it is taken."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def free(self, name: str | None) -> None:
        """Gives a name back, of something that is about to be removed."""
        self._taken.discard(name or "")


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
