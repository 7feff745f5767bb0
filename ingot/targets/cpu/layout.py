"""The layout that activations have between layers: channels last.

With channels last a pixel's channels are one contiguous vector: a 1x1 convolution is a matmul as it
stands, a depthwise one works on whole vectors of channels whatever the image's size, and neither
needs its input rearranged. TVM's pass carries the layout through element-wise operators, pooling,
reductions and concatenations; transposes are left at the network's borders.
"""

from __future__ import annotations

import tvm
from tvm import relax

from ingot.targets.cpu.constants import fold_constant_layouts


def channels_last(module: tvm.IRModule) -> tvm.IRModule:
    """Returns the module with its convolutions, and what lies between, in NHWC."""
    module = relax.transform.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]})(module)
    return fold_constant_layouts(relax.transform.CanonicalizeBindings()(module))
