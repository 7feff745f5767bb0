"""Tables of embeddings as int8, a scale per row: a table is read, not multiplied.

``Gather(table, ids)`` becomes ``Cast(Gather(integers, ids)) * Gather(scales, ids)``: a quarter of
the bytes, and a row is as exact as 8 bits make it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.onnx_graph.edits import Names, add_initializer
from ingot.onnx_graph.matching import constant_tensor
from ingot.passes.base import LOSSY, Declined, IngotPass, PassOptions, PassOutcome, Tolerance
from ingot.passes.quantization.grid import round_to_grid, weight_scales


class QuantizeEmbeddingsOptions(PassOptions):
    """Options of ``quantization.embeddings``."""

    smallest: int = pydantic.Field(
        default=65536, gt=0, description="elements of the smallest table that is quantized"
    )


class QuantizeEmbeddings(IngotPass[QuantizeEmbeddingsOptions]):
    """Large float tables that are only gathered from, as int8 with a scale per row."""

    name: ClassVar[str] = "quantization.embeddings"
    summary: ClassVar[str] = "Store tables of embeddings as int8 with a scale per row."
    options_type: ClassVar[type[PassOptions]] = QuantizeEmbeddingsOptions
    tolerance: ClassVar[Tolerance] = LOSSY

    def call(self, model: ir.Model) -> PassOutcome:
        """Quantizes the tables of the main graph."""
        names = Names(model)
        applied, declined = 0, []
        for value in list(model.graph.initializers.values()):
            tensor = constant_tensor(value)
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2:
                continue
            if tensor.size < self.options.smallest:
                continue
            gathers = value.consumers()
            if not gathers or any(node.op_type != "Gather" for node in gathers):
                continue
            if value.is_graph_output() or any(not _gathers_rows(node, value) for node in gathers):
                declined.append(Declined(str(value.name), "it is gathered along another axis"))
                continue
            _replace_table(model.graph, value, np.asarray(tensor.numpy()), names)
            applied += 1
        return PassOutcome(model, applied > 0, applied, declined)


def _gathers_rows(node: ir.Node, table: ir.Value) -> bool:
    axis = node.attributes.get_int("axis", 0)
    return node.domain == "" and node.inputs[0] is table and axis in (0, -2)


def _replace_table(graph: ir.Graph, table: ir.Value, array: npt.NDArray[Any], names: Names) -> None:
    scales = weight_scales(array)
    integers = add_initializer(
        graph, names, f"{table.name}_quantized", round_to_grid(array, scales)
    )
    scale = add_initializer(graph, names, f"{table.name}_scale", scales[:, None])
    for node in list(table.consumers()):
        _replace_gather(node, integers, scale, names)
    graph.initializers.pop(str(table.name))


def _replace_gather(gather: ir.Node, integers: ir.Value, scale: ir.Value, names: Names) -> None:
    ids, old = gather.inputs[1], gather.outputs[0]
    name = str(gather.name)
    owner = gather.graph
    assert isinstance(owner, ir.Graph)

    def node(op_type: str, inputs: list[ir.Value | None], dtype: ir.DataType) -> ir.Value:
        attributes = {"to": int(ir.DataType.FLOAT)} if op_type == "Cast" else {}
        output = ir.Value(name=names.fresh(f"{name}/{op_type}_output"), type=ir.TensorType(dtype))
        made = ir.Node(
            "",
            op_type,
            inputs,
            ir.convenience.convert_attributes(attributes),
            outputs=[output],
            name=names.fresh(f"{name}/{op_type}"),
        )
        owner.insert_before(gather, made)
        return output

    rows = node("Gather", [integers, ids], ir.DataType.INT8)
    rows.shape = old.shape
    real = node("Cast", [rows], ir.DataType.FLOAT)
    real.shape = old.shape
    factors = node("Gather", [scale, ids], ir.DataType.FLOAT)
    if old.shape is not None:
        factors.shape = ir.Shape([*list(old.shape)[:-1], 1])
    product = node("Mul", [real, factors], ir.DataType.FLOAT)
    product.shape = old.shape
    kept = old.name
    old.replace_all_uses_with(product, replace_graph_outputs=True)
    owner.remove(gather, safe=True)
    product.name = kept
