"""Estimates of NPUs as plots and tiles: on their own, never beside a measured time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matplotlib.axes import Axes

from ingot.report.npu import NpuLayer
from ingot.report.rendering import formats, plots
from ingot.report.schema import NpuVariant


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """A layer in the table, and its bars in percent of the longest layer.

    Attributes:
        layer: The layer.
        arithmetic: Bar of the cycles of the arithmetic alone.
        waiting: Bar of the cycles beyond, in which memory is waited for.
    """

    layer: NpuLayer
    arithmetic: float
    waiting: float


def layer_rows(variant: NpuVariant) -> list[LayerRow]:
    """The layers of an estimate in order."""
    layers = variant.estimate.layers
    longest = max((layer.cycles for layer in layers), default=0) or 1
    return [
        LayerRow(
            layer,
            100.0 * min(layer.npu_cycles, layer.cycles) / longest,
            100.0 * max(layer.cycles - layer.npu_cycles, 0) / longest,
        )
        for layer in layers
    ]


def memories(variants: Sequence[NpuVariant]) -> list[str]:
    """Names of the memories that any of the estimates has, in order."""
    return list(dict.fromkeys(name for v in variants for name in v.estimate.memories))


def traffic(variant: NpuVariant, memory: str) -> str:
    """What an inference reads of a memory and writes to it."""
    found = variant.estimate.memories.get(memory)
    if found is None:
        return formats.MISSING
    return f"{formats.size(found.read)} + {formats.size(found.written)}"


def peak(variant: NpuVariant, memory: str) -> str:
    """The most of a memory that is in use."""
    found = variant.estimate.memories.get(memory)
    return formats.MISSING if found is None else formats.size(found.peak)


def megahertz(variant: NpuVariant) -> str:
    """The clock that the estimate is for."""
    return f"{variant.estimate.clock_hz / 1e6:,.0f}"


def rate(variant: NpuVariant) -> str:
    """Inferences per second, estimated."""
    found = variant.estimate.inferences_per_second
    return formats.MISSING if found is None else formats.rate(found)


def estimated_rates(variants: Sequence[NpuVariant]) -> str:
    """A bar for each NPU: inferences per second that Vela estimates."""
    values = [variant.estimate.inferences_per_second or 0.0 for variant in variants]
    with plots.style():
        drawing, axes = plots.canvas(0.7 + 0.42 * len(variants))
        for row, (variant, value) in enumerate(zip(variants, values, strict=True)):
            axes.barh(-row, value, height=0.5, color=plots.SERIES[1], gid=f"npu-{row}")
            _label(axes, row, f"{variant.name}  ·  {rate(variant)}")
        _rows(axes, len(variants))
        axes.set_xlim(0, max([*values, 1.0]) * 1.04)
        axes.set_xlabel("inferences per second, estimated")
        return plots.svg(drawing, "npu", {f"npu-{i}": _tip(v) for i, v in enumerate(variants)})


def cycle_shares(variants: Sequence[NpuVariant]) -> str:
    """A bar for each NPU: the part of its cycles that is arithmetic, and what waits for memory."""
    with plots.style():
        drawing, axes = plots.canvas(0.7 + 0.42 * len(variants))
        for row, variant in enumerate(variants):
            estimate = variant.estimate
            part = 100.0 * min(estimate.npu_cycles / estimate.cycles, 1.0) if estimate.cycles else 0
            rest = 100.0 - part if estimate.cycles else 0.0
            axes.barh(-row, part, height=0.5, color=plots.SERIES[1], gid=f"shares-{row}")
            axes.barh(-row, rest, left=part, height=0.5, color=plots.SERIES[0], alpha=0.55)
            _label(axes, row, f"{variant.name}  ·  {part:.0f} % arithmetic")
        _rows(axes, len(variants))
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of the estimated cycles: arithmetic, then waiting for memory")
        tips = {f"shares-{i}": _tip(v) for i, v in enumerate(variants)}
        return plots.svg(drawing, "shares", tips)


def _label(axes: Axes, row: int, text: str) -> None:
    axes.text(
        0.0, -row + 0.36, text,
        transform=axes.get_yaxis_transform(), va="center", fontweight="bold",
    )  # fmt: skip


def _rows(axes: Axes, count: int) -> None:
    axes.set_ylim(-count + 0.6, 0.6)
    axes.set_yticks([])
    axes.grid(axis="x")


def _tip(variant: NpuVariant) -> str:
    estimate = variant.estimate
    return (
        f"{variant.name}: {estimate.cycles:,} cycles at {megahertz(variant)} MHz, "
        f"{estimate.utilization:.0%} of the multiply-adds that there are, by {estimate.source}"
    )
