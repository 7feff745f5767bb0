"""The layout that activations have between layers: channels last.

With channels last a pixel's channels are one contiguous vector: a 1x1 convolution is a matmul as it
stands, a depthwise one works on whole vectors of channels whatever the image's size, and neither
needs its input rearranged. TVM's pass carries the layout through element-wise operators, pooling,
reductions and concatenations; transposes are left at the network's borders.
"""

from __future__ import annotations

import tvm
from tvm import relax

from ingot.targets.cpu.broadcasting import align_operands
from ingot.targets.relax.constants import fold_constant_layouts

_CONVOLUTION = "relax.nn.conv2d"


def channels_last(module: tvm.IRModule) -> tvm.IRModule:
    """Returns the module with its convolutions, and what lies between, in NHWC."""
    if not _has_call(module, _CONVOLUTION):
        # TVM's pass would stop at tensors of unknown rank for nothing.
        return module
    module = align_operands(module)
    module = relax.transform.ConvertLayout({_CONVOLUTION: ["NHWC", "HWIO"]})(module)
    return fold_constant_layouts(relax.transform.CanonicalizeBindings()(module))


def _has_call(module: tvm.IRModule, operator: str) -> bool:
    names = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call):
            names.append(getattr(expression.op, "name", ""))

    relax.analysis.post_order_visit(module["main"], visit)
    return operator in names
