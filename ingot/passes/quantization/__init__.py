"""Quantization passes: from a float graph to standard QDQ ONNX, and what keeps its accuracy."""

from typing import Any

from ingot.passes.base import IngotPass
from ingot.passes.quantization.bias_correction import CorrectBias
from ingot.passes.quantization.dynamic import QuantizeDynamic
from ingot.passes.quantization.embeddings import QuantizeEmbeddings
from ingot.passes.quantization.equalization import Equalize
from ingot.passes.quantization.qdq import InsertQdq
from ingot.passes.quantization.smoothing import Smooth
from ingot.passes.quantization.weight_only import QuantizeWeights
from ingot.passes.quantization.weight_rounding import LearnRounding

__all__ = [
    "PASSES",
    "CorrectBias",
    "Equalize",
    "InsertQdq",
    "LearnRounding",
    "QuantizeDynamic",
    "QuantizeEmbeddings",
    "QuantizeWeights",
    "Smooth",
]

# In default order: what changes the float graph, its quantization, what works on its integers, and
# what is stored smaller. Those that are taken by name only are alternatives to others.
PASSES: tuple[type[IngotPass[Any]], ...] = (
    Equalize,
    Smooth,
    InsertQdq,
    LearnRounding,
    CorrectBias,
    QuantizeEmbeddings,
    QuantizeDynamic,
    QuantizeWeights,
)
