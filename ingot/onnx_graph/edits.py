"""Edits of an ONNX graph: names that are free, and new initializers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

_CONSTANT_FORMS = {
    "value_float": ir.DataType.FLOAT,
    "value_int": ir.DataType.INT64,
    "value_string": ir.DataType.STRING,
}


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


def name_nodes(model: ir.Model) -> None:
    """Names each node that has no name by its operator and place, in place, for messages."""
    names = Names(model)
    for index, node in enumerate(model.graph.all_nodes()):
        if not node.name:
            node.name = names.fresh(f"{node.op_type}_{index}")


def unify_constants(model: ir.Model) -> None:
    """Gives each Constant node its tensor as ``value``, in place: ONNX has six more forms."""
    for node in model.graph.all_nodes():
        if node.op_type != "Constant" or node.domain != "" or len(node.attributes) != 1:
            continue
        (name, attribute), *_ = node.attributes.items()
        if name == "value" or attribute.is_ref():
            continue
        dtype = _CONSTANT_FORMS.get(name.removesuffix("s"))
        if dtype is None:
            continue
        tensor: ir.TensorProtocol
        if dtype is ir.DataType.STRING:
            words = np.array(attribute.value, np.object_)
            encoded = np.vectorize(lambda word: word.encode(), otypes=[object])(words)
            tensor = ir.StringTensor(encoded, name=node.outputs[0].name)
        else:
            tensor = ir.tensor(np.asarray(attribute.value, dtype.numpy()))
        del node.attributes[name]
        node.attributes["value"] = ir.AttrTensor("value", tensor)
