"""Weights in 16 bits, arithmetic in float32: half the bytes of a model.

A weight becomes a constant of 16 bits and a Cast to float32 for each node that multiplies it, so
any ONNX runtime computes what the code does. Rounding is to nearest, ties to even (IEEE 754).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.errors import UsageError
from ingot.onnx_graph.matching import constant_tensor
from ingot.passes.base import LOSSY, Declined, IngotPass, PassOptions, PassOutcome, Tolerance
from ingot.passes.precision.casts import LARGEST, Caster, SixteenBits

# The operands of an operator that are multiplied by each other.
_MULTIPLIED = 2

Operator = Literal["Conv", "ConvTranspose", "Gemm", "MatMul"]


class SixteenBitWeightsOptions(PassOptions):
    """Options of ``precision.sixteen-bit-weights``."""

    type: SixteenBits = pydantic.Field(
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
        caster = Caster(model, self.options.type)
        applied, declined = 0, []
        for node, position, array in list(self._weights(model.graph)):
            reason = self._reason_against(node, array)
            if reason is not None:
                declined.append(Declined(str(node.name), reason))
                continue
            caster.round_constant(node, position, array)
            applied += 1
        caster.remove_unread()
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
        largest = LARGEST[self.options.type]
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
