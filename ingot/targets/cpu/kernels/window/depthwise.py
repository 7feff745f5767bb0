"""Depthwise convolution in NHWC: a window with one weight per tap and channel.

Each channel is convolved with its own few taps, so that no panel of weights is shared as in other
convolutions: what can be reused are the input's pixels, and ``sliding_window`` does.
"""

from __future__ import annotations

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import DepthwiseAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.window.sliding import write_sliding_window
from ingot.targets.cpu.machine import CpuDescription


def write_depthwise(kernel: FusedKernel[DepthwiseAnchor], cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a depthwise convolution and of its epilogue."""
    return write_sliding_window(
        kernel,
        cpu,
        family="depthwise",
        initial=0.0,
        combine=lambda total, value, weight: total + value * weight,
        weighted=True,
    )
