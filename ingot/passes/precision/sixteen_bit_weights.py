"""Weights in 16 bits, arithmetic in float32: half the bytes of a model.

A weight becomes a constant of 16 bits and a Cast to float32 for each node that multiplies it, so
any ONNX runtime computes what the code does. Rounding is to nearest, ties to even (IEEE 754).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.errors import UsageError
from ingot.onnx_graph.edits import Names, add_initializer
from ingot.onnx_graph.matching import constant_tensor
from ingot.passes.base import LOSSY, Declined, IngotPass, PassOptions, PassOutcome, Tolerance

_TYPES = {"bf16": np.dtype(ml_dtypes.bfloat16), "fp16": np.dtype(np.float16)}
_LARGEST = {"bf16": float.fromhex("0x1.fep127"), "fp16": float.fromhex("0x1.ffcp15")}
# Cast takes bfloat16 since then.
_BFLOAT16_OPSET = 13
# The operands of an operator that are multiplied by each other.
_MULTIPLIED = 2

Operator = Literal["Conv", "ConvTranspose", "Gemm", "MatMul"]


class SixteenBitWeightsOptions(PassOptions):
    """Options of ``precision.sixteen-bit-weights``."""

    type: Literal["bf16", "fp16"] = pydantic.Field(
        default="bf16", description="bf16 has float32's range, fp16 three more bits"
    )
    operators: tuple[Operator, ...] = pydantic.Field(
        default=("Conv", "ConvTranspose", "Gemm", "MatMul"),
        description="operators whose weights are stored in 16 bits",
    )
    keep_float: tuple[str, ...] = pydantic.Field(
        default=(), description="names of layers whose weights stay float32"
    )
    smallest: int = pydantic.Field(
        default=4096, gt=0, description="elements of the smallest weights that are rounded"
    )


class SixteenBitWeights(IngotPass[SixteenBitWeightsOptions]):
    """Constants that layers multiply by, as bfloat16 or float16 and a Cast."""

    name: ClassVar[str] = "precision.sixteen-bit-weights"
    summary: ClassVar[str] = "Store weights in bf16 or fp16; arithmetic stays float32."
    options_type: ClassVar[type[PassOptions]] = SixteenBitWeightsOptions
    tolerance: ClassVar[Tolerance] = LOSSY

    def call(self, model: ir.Model) -> PassOutcome:
        """Rounds the weights of the main graph's layers."""
        self._require_known_layers(model.graph)
        opset = model.opset_imports.get("", 1)
        if self.options.type == "bf16" and opset < _BFLOAT16_OPSET:
            raise UsageError(
                f"bfloat16 needs opset {_BFLOAT16_OPSET}, the model has {opset}: convert it first"
            )
        rounder = _Rounder(model, _TYPES[self.options.type])
        applied, declined = 0, []
        for node, position, array in list(self._weights(model.graph)):
            reason = self._reason_against(node, array)
            if reason is not None:
                declined.append(Declined(str(node.name), reason))
                continue
            rounder.round(node, position, array)
            applied += 1
        rounder.remove_unread()
        return PassOutcome(model, applied > 0, applied, declined)

    def _weights(self, graph: ir.Graph) -> Iterator[tuple[ir.Node, int, npt.NDArray[np.float32]]]:
        """Each layer's constant float32 operands: node, position, elements."""
        for node in graph:
            if node.domain != "" or node.op_type not in self.options.operators:
                continue
            for position, value in enumerate(node.inputs[:_MULTIPLIED]):
                tensor = constant_tensor(value)
                if tensor is not None and tensor.dtype == ir.DataType.FLOAT:
                    yield node, position, np.asarray(tensor.numpy(), np.float32)

    def _reason_against(self, node: ir.Node, array: npt.NDArray[np.float32]) -> str | None:
        if node.name in self.options.keep_float:
            return "it is kept in float32"
        if array.size < self.options.smallest:
            return f"its {array.size} weights are too few to matter"
        largest = _LARGEST[self.options.type]
        beyond = float(np.abs(array).max())
        if np.isfinite(beyond) and beyond > largest:
            return f"a weight of {beyond:.3g} is beyond {self.options.type}'s {largest:.5g}"
        return None

    def _require_known_layers(self, graph: ir.Graph) -> None:
        known = {node.name for node, _, _ in self._weights(graph)}
        unknown = [name for name in self.options.keep_float if name not in known]
        if unknown:
            raise UsageError(
                f"keep_float names '{unknown[0]}', and the model has no such layer with weights"
            )


class _Rounder:
    """Puts constants of 16 bits in place of float32 ones, each once however often it is read."""

    def __init__(self, model: ir.Model, dtype: np.dtype[Any]) -> None:
        self._graph = model.graph
        self._names = Names(model)
        self._dtype = dtype
        self._rounded: dict[ir.Value, ir.Value] = {}

    def round(self, node: ir.Node, position: int, array: npt.NDArray[np.float32]) -> None:
        old = node.inputs[position]
        assert old is not None
        if old not in self._rounded:
            wanted = f"{old.name}_{self._dtype.name}"
            self._rounded[old] = add_initializer(
                self._graph, self._names, wanted, array.astype(self._dtype)
            )
        real = ir.Value(
            name=self._names.fresh(f"{old.name}_float32"),
            type=ir.TensorType(ir.DataType.FLOAT),
            shape=old.shape,
        )
        cast = ir.Node(
            "",
            "Cast",
            [self._rounded[old]],
            ir.convenience.convert_attributes({"to": int(ir.DataType.FLOAT)}),
            outputs=[real],
            name=self._names.fresh(f"{old.name}/Cast"),
        )
        self._graph.insert_before(node, cast)
        node.replace_input_with(position, real)

    def remove_unread(self) -> None:
        for old in self._rounded:
            if old.is_initializer() and not old.uses() and not old.is_graph_output():
                self._graph.initializers.pop(str(old.name))
