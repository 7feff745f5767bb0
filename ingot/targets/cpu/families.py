"""The table of families of kernels: what selects the kernels of each, and what writes their code.

A kernel's cost is no column of the table: it is read from the loops that a selection leaves beside
the anchor, which spell the problem out (``cost.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import (
    Anchor,
    ColumnReductionAnchor,
    ConvolutionAnchor,
    DepthwiseAnchor,
    FewColumnsAnchor,
    GroupedConvolutionAnchor,
    MatmulAnchor,
    MaxPoolingAnchor,
    OpenConvolutionAnchor,
    SumPoolingAnchor,
    WordConvolutionAnchor,
    WordMatmulAnchor,
)
from ingot.targets.cpu.kernels.convolution.direct import write_convolution
from ingot.targets.cpu.kernels.convolution.few_columns import write_few_columns
from ingot.targets.cpu.kernels.convolution.patches import write_patches
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.matmul import write_matmul
from ingot.targets.cpu.kernels.rows.columns import write_column_reduction
from ingot.targets.cpu.kernels.window.depthwise import write_depthwise
from ingot.targets.cpu.kernels.window.grouped import write_grouped_window
from ingot.targets.cpu.kernels.window.pooling import write_max_pooling, write_sum_pooling
from ingot.targets.cpu.kernels.words.convolution import write_word_convolution
from ingot.targets.cpu.kernels.words.matmul import write_word_matmul
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.selection.attention import ATTENTION_SELECTORS
from ingot.targets.cpu.selection.base import Selector, first_of
from ingot.targets.cpu.selection.channel_norms import CHANNEL_NORM_SELECTORS
from ingot.targets.cpu.selection.convolution import ConvolutionRule, convolution_selector
from ingot.targets.cpu.selection.depthwise import select_depthwise
from ingot.targets.cpu.selection.direct_convolution import select_direct
from ingot.targets.cpu.selection.few_columns import select_few_columns
from ingot.targets.cpu.selection.fourier import FOURIER_SELECTORS
from ingot.targets.cpu.selection.grouped import select_grouped_window
from ingot.targets.cpu.selection.matmul import select_matmul
from ingot.targets.cpu.selection.open_convolution import select_open_convolution
from ingot.targets.cpu.selection.pointwise import select_pointwise
from ingot.targets.cpu.selection.pooling import select_average_pooling, select_max_pooling
from ingot.targets.cpu.selection.quantization import QUANTIZATION_SELECTORS
from ingot.targets.cpu.selection.recurrent import RECURRENT_SELECTORS
from ingot.targets.cpu.selection.reductions import REDUCTION_SELECTORS
from ingot.targets.cpu.selection.rows import ROUNDING_SELECTORS, ROW_SELECTORS
from ingot.targets.cpu.selection.words.convolution import select_word_convolution
from ingot.targets.cpu.selection.words.matmul import (
    select_word_matmul,
    select_word_pointwise,
)

OneAnchor = TypeVar("OneAnchor", bound=Anchor)


@dataclasses.dataclass(frozen=True)
class Family(Generic[OneAnchor]):
    """A family of kernels.

    Attributes:
        anchor: What a selection tells the writer.
        write: Writes the code of a kernel and of what is fused with it.
        calls: Rules that select its kernels, by the operator of the calls that they take.
        convolutions: A rule that takes or declines convolutions.
    """

    anchor: type[OneAnchor]
    write: Callable[[FusedKernel[OneAnchor], CpuDescription], tirx.PrimFunc]
    calls: Mapping[str, Selector] = dataclasses.field(default_factory=dict)
    convolutions: ConvolutionRule | None = None


# What several families could compute goes to the first of them.
FAMILIES: tuple[Family[Any], ...] = (
    Family(ColumnReductionAnchor, write_column_reduction, REDUCTION_SELECTORS),
    Family(MaxPoolingAnchor, write_max_pooling, {"relax.nn.max_pool2d": select_max_pooling}),
    Family(SumPoolingAnchor, write_sum_pooling, {"relax.nn.avg_pool2d": select_average_pooling}),
    Family(
        WordMatmulAnchor,
        write_word_matmul,
        {"relax.matmul": select_word_matmul},
        select_word_pointwise,
    ),
    Family(
        WordConvolutionAnchor,
        write_word_convolution,
        convolutions=select_word_convolution,
    ),
    Family(MatmulAnchor, write_matmul, {"relax.matmul": select_matmul}, select_pointwise),
    Family(DepthwiseAnchor, write_depthwise, convolutions=select_depthwise),
    Family(GroupedConvolutionAnchor, write_grouped_window, convolutions=select_grouped_window),
    Family(FewColumnsAnchor, write_few_columns, convolutions=select_few_columns),
    Family(ConvolutionAnchor, write_convolution, convolutions=select_direct),
    Family(OpenConvolutionAnchor, write_patches, convolutions=select_open_convolution),
)

CONVOLUTIONS: tuple[tuple[str, ConvolutionRule], ...] = tuple(
    (family.anchor.family, family.convolutions)
    for family in FAMILIES
    if family.convolutions is not None
)
"""The families that take convolutions, in order."""


def _calls() -> dict[str, Selector]:
    """The rules of all families by operator."""
    rules: dict[str, list[Selector]] = {"relax.nn.conv2d": [convolution_selector(CONVOLUTIONS)]}
    for family in FAMILIES:
        for operator, rule in family.calls.items():
            rules.setdefault(operator, []).append(rule)
    return {operator: first_of(found) for operator, found in rules.items()}


PHASES: tuple[Mapping[str, Selector], ...] = (
    {**FOURIER_SELECTORS, **RECURRENT_SELECTORS},
    *ATTENTION_SELECTORS,
    QUANTIZATION_SELECTORS,
    ROUNDING_SELECTORS,
    {**CHANNEL_NORM_SELECTORS, **ROW_SELECTORS, **_calls()},
)
"""The rules of selection, those of kernels that are written at once included.

Patterns of several calls come before rules for single ones, which would take them apart, and what
leaves calls to other rules comes before these.
"""
