"""Quantization passes: from a float graph to standard QDQ ONNX, and what keeps its accuracy."""

from typing import Any

from ingot.passes.base import IngotPass
from ingot.passes.quantization.bias_correction import CorrectBias
from ingot.passes.quantization.equalization import Equalize
from ingot.passes.quantization.qdq import InsertQdq
from ingot.passes.quantization.smoothing import Smooth
from ingot.passes.quantization.weight_rounding import LearnRounding

__all__ = ["PASSES", "CorrectBias", "Equalize", "InsertQdq", "LearnRounding", "Smooth"]

# In default order: what changes the float graph, its quantization, and what works on its integers.
# Those that are taken by name only are alternatives to others.
PASSES: tuple[type[IngotPass[Any]], ...] = (
    Equalize,
    Smooth,
    InsertQdq,
    LearnRounding,
    CorrectBias,
)
