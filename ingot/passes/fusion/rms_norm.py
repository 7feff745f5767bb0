"""Root-mean-square normalization in its spelled-out forms.

Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019):
x / sqrt(mean(x^2) + eps) * scale.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from ingot.onnx_graph.matching import WIDE_FLOATS, require_dtype
from ingot.passes.base import PassOptions
from ingot.passes.fusion.normalization import (
    Affined,
    Nodes,
    normalized_dims,
    ones,
    read_affine,
    read_mean,
    read_quotients,
    read_square,
    stash_type,
)
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass


class FuseRmsNorm(FusionPass[PassOptions]):
    """Spelled-out RMS normalization, with a scale or without, to RMSNormalization (opset 23)."""

    name: ClassVar[str] = "fusion.rms-norm"
    summary: ClassVar[str] = "Recognize RMS normalization from its spelled-out forms."
    candidates: ClassVar[frozenset[str]] = frozenset({"Div", "Mul"})
    forward: ClassVar[bool] = True

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches the division by the root mean square, and the scale after it."""
        for x, root in read_quotients(node):
            mean = read_mean(root.mean_square)
            square = None if mean is None else read_square(mean.of)
            if mean is None or square is None or square[0] is not x:
                continue
            require_dtype(x, WIDE_FLOATS)
            axes = mean.trailing()
            dims = normalized_dims(x, axes)
            affine = read_affine(node, x, dims, ("Mul",))
            attributes = {"axis": -axes, "epsilon": root.epsilon, **stash_type(x)}
            region = affine.nodes | root.nodes | {mean.node, square[1]}
            return _fusion(affine, region, x, dims, attributes)
        return None


def _fusion(
    affine: Affined,
    region: Nodes,
    x: ir.Value,
    dims: tuple[int, ...],
    attributes: dict[str, float],
) -> Fusion:
    def build(builder: Builder) -> ir.Value:
        scale = ones(builder, x, dims) if affine.scale is None else affine.scale.emit(builder)
        return builder.node("RMSNormalization", [x, scale], attributes)

    return Fusion(affine.root, region, build, opset=23, operator="RMSNormalization")
