"""Converters of operators on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ingot.targets.relax.operators.convolution import conv, conv_transpose
from ingot.targets.relax.operators.deformable import deform_conv
from ingot.targets.relax.operators.detection import max_roi_pool, non_max_suppression
from ingot.targets.relax.operators.pooling import (
    average_pool,
    global_lp_pool,
    lp_pool,
    max_pool,
)
from ingot.targets.relax.operators.roi_align import roi_align
from ingot.targets.relax.operators.unpooling import max_unpool

IMAGE_CONVERTERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("", "AveragePool"): average_pool,
    ("", "Conv"): conv,
    ("", "ConvTranspose"): conv_transpose,
    ("", "DeformConv"): deform_conv,
    ("", "GlobalLpPool"): global_lp_pool,
    ("", "LpPool"): lp_pool,
    ("", "MaxPool"): max_pool,
    ("", "MaxRoiPool"): max_roi_pool,
    ("", "MaxUnpool"): max_unpool,
    ("", "NonMaxSuppression"): non_max_suppression,
    ("", "RoiAlign"): roi_align,
}
