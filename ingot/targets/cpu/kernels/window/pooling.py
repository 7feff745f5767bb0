"""Pooling over windows in NHWC: the maximum, or the sum that an average is divided from."""

from __future__ import annotations

import math

from tvm import tirx

from ingot.targets.cpu.floats import maximum
from ingot.targets.cpu.kernels.anchors import MaxPoolingAnchor, SumPoolingAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.window.sliding import write_sliding_window
from ingot.targets.cpu.machine import CpuDescription


def write_max_pooling(kernel: FusedKernel[MaxPoolingAnchor], cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a maximum over windows and of its epilogue."""
    return write_sliding_window(
        kernel,
        cpu,
        family="max_pooling",
        initial=-math.inf,
        combine=lambda largest, value, _: maximum(largest, value),
        weighted=False,
    )


def write_sum_pooling(kernel: FusedKernel[SumPoolingAnchor], cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a sum over windows and of its epilogue, which divides by a count."""
    return write_sliding_window(
        kernel,
        cpu,
        family="average_pooling",
        initial=0.0,
        combine=lambda total, value, _: total + value,
        weighted=False,
    )
