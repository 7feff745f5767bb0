"""Layers that multiply in 16 bits: casts around them, and on the edges between.

What is inserted is arithmetic in float32 between rounded values, so any ONNX runtime computes it;
a target that recognizes it multiplies 16-bit values exactly and adds in float32 (Kalamkar et al.,
"A Study of BFLOAT16 for Deep Learning Training", 2019, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.errors import UsageError
from ingot.onnx_graph.matching import constant_tensor, producer
from ingot.passes.base import Declined, PassOptions, PassOutcome
from ingot.passes.precision.casts import LARGEST, Caster, SixteenBits
from ingot.passes.precision.placement import MULTIPLIED, operands, place
from ingot.passes.quantization.calibrated import CalibratedPass

# With a cache of keys and values, Attention concatenates: what it multiplies is no input.
_PAST_KEY = 4


class SixteenBitsOptions(PassOptions):
    """Options of ``precision.sixteen-bits``."""

    type: SixteenBits = pydantic.Field(
        default="bf16", description="bf16 has float32's range, fp16 three more bits"
    )
    operators: tuple[str, ...] = pydantic.Field(
        default=tuple(MULTIPLIED),
        description="operators that multiply in 16 bits, where the target does",
    )
    keep_float: tuple[str, ...] = pydantic.Field(
        default=(), description="names of layers that stay float32"
    )

    @pydantic.field_validator("operators")
    @classmethod
    def _known_operators(cls, operators: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in operators if name not in MULTIPLIED]
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} multiplies nothing; possible: {', '.join(MULTIPLIED)}"
            )
        return operators


class MultiplyInSixteenBits(CalibratedPass[SixteenBitsOptions]):
    """Casts to bfloat16 or float16 around what the target multiplies in it."""

    name: ClassVar[str] = "precision.sixteen-bits"
    summary: ClassVar[str] = "Multiply in bf16 or fp16 where the target does, sums in float32."
    options_type: ClassVar[type[PassOptions]] = SixteenBitsOptions
    needs_data: ClassVar[bool] = False

    def call(self, model: ir.Model) -> PassOutcome:
        """Rounds what the main graph's layers multiply, and what lies between them."""
        candidates = [
            node for node in model.graph if node.domain == "" and node.op_type in MULTIPLIED
        ]
        self._require_known_layers(candidates)
        caster = Caster(model, self.options.type)
        reasons = {node: self._reason_against(node) for node in candidates}
        layers = [node for node, reason in reasons.items() if reason is None]
        beyond = self._beyond(model, layers)
        for node in layers:
            reasons[node] = self._range_against(node, beyond)
        layers = [node for node, reason in reasons.items() if reason is None]
        for value, readers in place(model.graph, layers, beyond).items():
            caster.round_value(value, readers)
        for node in layers:
            for position, value in operands(node):
                array = _constant_floats(value)
                if array is not None:
                    caster.round_constant(node, position, array)
        caster.remove_unread()
        declined = [Declined(str(node.name), why) for node, why in reasons.items() if why]
        return PassOutcome(model, bool(layers), len(layers), declined)

    def _reason_against(self, node: ir.Node) -> str | None:
        kind = self.options.type
        if node.op_type not in self.arithmetic.sixteen_bits.get(kind, ()):
            return f"the target does not multiply a {node.op_type} in {kind}"
        if node.op_type not in self.options.operators or node.name in self.options.keep_float:
            return "it is kept in float32"
        if any(producer(value, "DequantizeLinear") for _, value in operands(node)):
            return "it is quantized to integers"
        if node.op_type == "Attention" and any(node.inputs[_PAST_KEY:]):
            return "its keys are joined with those of a cache"
        for _, value in operands(node):
            if value.dtype != ir.DataType.FLOAT:
                kept = "of an unknown type" if value.dtype is None else value.dtype.name
                return f"'{value.name}' is {kept}, not float32"
        constants = [constant_tensor(value) is not None for _, value in operands(node)]
        if all(constants):
            return "all of its operands are constants"
        if node.op_type in self.arithmetic.by_constants and not any(constants):
            return f"the target multiplies a {node.op_type} in {kind} only by constants"
        return None

    def _range_against(self, node: ir.Node, beyond: Mapping[ir.Value, float]) -> str | None:
        kind = self.options.type
        for _, value in operands(node):
            if value in beyond:
                reached = f"'{value.name}' reaches {beyond[value]:.3g}"
                return f"{reached}, beyond {kind}'s {LARGEST[kind]:.5g}"
        return None

    def _beyond(self, model: ir.Model, layers: list[ir.Node]) -> Mapping[ir.Value, float]:
        """Values that the type does not hold, with the largest magnitude of each.

        Of constants these are known, of others where there is data. bfloat16 holds what float32
        does but for the last half percent below infinity.
        """
        found: dict[ir.Value, float] = {}
        for value in {value for node in layers for _, value in operands(node)}:
            array = _constant_floats(value)
            if array is not None:
                finite = np.abs(array[np.isfinite(array)])
                found[value] = float(finite.max(initial=0.0))
        placed = list(place(model.graph, layers))
        if self.has_data and self.options.type == "fp16" and placed:
            names = [str(value.name) for value in placed]
            seen = self.calibration.statistics(model, names, histograms=False)
            for value, one in zip(placed, seen.values(), strict=True):
                found[value] = max(abs(one.minimum), abs(one.maximum))
        largest = LARGEST[self.options.type]
        return {value: reached for value, reached in found.items() if reached > largest}

    def _require_known_layers(self, nodes: list[ir.Node]) -> None:
        known = {node.name for node in nodes}
        unknown = [name for name in self.options.keep_float if name not in known]
        if unknown:
            raise UsageError(f"keep_float names '{unknown[0]}', and the model has no such layer")


def _constant_floats(value: ir.Value) -> npt.NDArray[np.float32] | None:
    tensor = constant_tensor(value)
    return None if tensor is None else np.asarray(tensor.numpy(), np.float32)
