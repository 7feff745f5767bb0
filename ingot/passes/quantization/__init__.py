"""Quantization passes: from a float graph to standard QDQ ONNX, and what keeps its accuracy."""

from typing import Any

from ingot.passes.base import IngotPass
from ingot.passes.quantization.qdq import InsertQdq

__all__ = ["PASSES", "InsertQdq"]

PASSES: tuple[type[IngotPass[Any]], ...] = (InsertQdq,)
