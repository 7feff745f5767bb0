"""The families of kernels whose problem is an anchor: what writes the code of each.

What a kernel costs is no column of the table: it is read from the loops that a selection leaves
beside its anchor, which spell its problem out (``cost.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import (
    Anchor,
    ColumnReductionAnchor,
    ConvolutionAnchor,
    DepthwiseAnchor,
    IntegerConvolutionAnchor,
    IntegerMatmulAnchor,
    MatmulAnchor,
    MaxPoolingAnchor,
    OpenConvolutionAnchor,
    SumPoolingAnchor,
)
from ingot.targets.cpu.kernels.convolution.direct import write_convolution
from ingot.targets.cpu.kernels.convolution.patches import write_patches
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.integer.convolution import write_integer_convolution
from ingot.targets.cpu.kernels.integer.matmul import write_integer_matmul
from ingot.targets.cpu.kernels.matmul import write_matmul
from ingot.targets.cpu.kernels.rows.columns import write_column_reduction
from ingot.targets.cpu.kernels.window.depthwise import write_depthwise
from ingot.targets.cpu.kernels.window.pooling import write_max_pooling, write_sum_pooling
from ingot.targets.cpu.machine import CpuDescription

OneAnchor = TypeVar("OneAnchor", bound=Anchor)


@dataclasses.dataclass(frozen=True)
class Family(Generic[OneAnchor]):
    """A family of kernels.

    Attributes:
        anchor: What a selection tells the writer.
        write: Writes the code of a kernel and of what is fused with it.
    """

    anchor: type[OneAnchor]
    write: Callable[[FusedKernel[OneAnchor], CpuDescription], tirx.PrimFunc]


FAMILIES: tuple[Family[Any], ...] = (
    Family(ColumnReductionAnchor, write_column_reduction),
    Family(ConvolutionAnchor, write_convolution),
    Family(DepthwiseAnchor, write_depthwise),
    Family(IntegerConvolutionAnchor, write_integer_convolution),
    Family(IntegerMatmulAnchor, write_integer_matmul),
    Family(MatmulAnchor, write_matmul),
    Family(MaxPoolingAnchor, write_max_pooling),
    Family(OpenConvolutionAnchor, write_patches),
    Family(SumPoolingAnchor, write_sum_pooling),
)
