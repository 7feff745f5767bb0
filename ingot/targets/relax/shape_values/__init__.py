"""Shapes as values: the arithmetic that graphs do on the dimensions of their tensors.

What a graph computes from shapes is evaluated while it is imported, element by element: numbers
where dimensions are known, expressions where they are symbolic. So whatever takes its own shape
from such a value (a reshape, a slice, a resize) still knows what it depends on.
"""

from ingot.targets.relax.shape_values.evaluator import evaluate
from ingot.targets.relax.shape_values.known import Known, known_of

__all__ = ["Known", "evaluate", "known_of"]
