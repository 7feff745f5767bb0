"""What ways of batching take, as one HTML page: throughput against latency."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ingot.report.rendering import plots
from ingot.report.rendering.html import page_environment


@dataclasses.dataclass(frozen=True)
class TunedRow:
    """A way of batching in the table and the drawing.

    Attributes:
        name: What it is.
        rate: Requests per second within the bound.
        points: Requests per second and 99th percentile in milliseconds of each load.
        best: Whether it is the chosen one.
    """

    name: str
    rate: float
    points: tuple[tuple[float, float], ...]
    best: bool


def render_tuning(
    model: str,
    machine: str,
    bound_ms: float,
    rows: Sequence[TunedRow],
    front: Sequence[tuple[float, float]],
) -> str:
    """Draws the page.

    Args:
        model: What was served.
        machine: Where.
        bound_ms: The bound of the 99th percentile.
        rows: The ways of batching, the best first.
        front: Requests per second and 99th percentile of the loads that no other is better than.
    """
    return (
        page_environment()
        .get_template("tuning.html.jinja")
        .render(
            model=model,
            machine=machine,
            bound_ms=bound_ms,
            rows=rows,
            drawing=_drawing(bound_ms, rows, front),
        )
    )


def _drawing(
    bound_ms: float, rows: Sequence[TunedRow], front: Sequence[tuple[float, float]]
) -> str:
    with plots.style():
        drawing, axes = plots.canvas(3.4)
        tips = {}
        for number, row in enumerate(rows):
            if not row.points:
                continue
            rates, latencies = zip(*row.points, strict=True)
            marks = axes.scatter(rates, latencies, s=26 if row.best else 12, alpha=0.8, zorder=3)
            marks.set_gid(f"row-{number}")
            tips[f"row-{number}"] = row.name
        if front:
            rates, latencies = zip(*front, strict=True)
            axes.plot(rates, latencies, linewidth=1, zorder=2, label="Pareto front")
        axes.axhline(bound_ms, linestyle="--", linewidth=1, label=f"bound, {bound_ms:g} ms")
        axes.set_yscale("log")
        axes.set_xlabel("requests per second")
        axes.set_ylabel("99th percentile, ms")
        axes.grid()
        axes.legend(loc="upper left")
        return plots.svg(drawing, "front", tips)
