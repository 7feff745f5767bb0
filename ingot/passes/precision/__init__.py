"""Precision passes: which layers are in 16 bits, as standard ONNX with Cast."""

from typing import Any

from ingot.passes.base import IngotPass
from ingot.passes.precision.sixteen_bit_weights import SixteenBitWeights
from ingot.passes.precision.sixteen_bits import MultiplyInSixteenBits

__all__ = ["PASSES", "MultiplyInSixteenBits", "SixteenBitWeights"]

# In default order: what the target multiplies in 16 bits, then the weights of the others.
PASSES: tuple[type[IngotPass[Any]], ...] = (MultiplyInSixteenBits, SixteenBitWeights)
