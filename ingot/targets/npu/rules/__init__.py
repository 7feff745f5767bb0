"""Lowering rules, one file for each family of operators, tried in order."""

from __future__ import annotations

from collections.abc import Sequence

from ingot.targets.npu.rules.affine import AffineRule
from ingot.targets.npu.rules.base import Layer, Rule
from ingot.targets.npu.rules.convolution import ConvolutionRule
from ingot.targets.npu.rules.elementwise import ElementwiseRule
from ingot.targets.npu.rules.fully_connected import FullyConnectedRule
from ingot.targets.npu.rules.movement import MovementRule
from ingot.targets.npu.rules.pooling import PoolingRule
from ingot.targets.npu.rules.resize import ResizeRule
from ingot.targets.npu.rules.table import TableRule

__all__ = ["RULES", "Layer", "Rule"]

RULES: Sequence[Rule] = (
    ConvolutionRule(),
    FullyConnectedRule(),
    ElementwiseRule(),
    PoolingRule(),
    MovementRule(),
    ResizeRule(),
    TableRule(),
    AffineRule(),
)
