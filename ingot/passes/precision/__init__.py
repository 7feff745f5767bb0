"""Precision passes: which layers are held in 16 bits, as standard ONNX with Cast."""

from typing import Any

from ingot.passes.base import IngotPass
from ingot.passes.precision.sixteen_bit_weights import SixteenBitWeights

__all__ = ["PASSES", "SixteenBitWeights"]

PASSES: tuple[type[IngotPass[Any]], ...] = (SixteenBitWeights,)
