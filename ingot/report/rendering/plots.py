"""The plots of a report as SVG that lies in the page itself.

Drawn by Matplotlib, whose SVG is small, prints well, and needs neither a script nor a network. The
colours are placeholders that become CSS variables, so that one drawing serves light and dark.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ingot.report.rendering import formats
from ingot.report.schema import VariantReport

# Placeholders: colours that no drawing has by chance, and the CSS variables that replace them.
_INK, _MUTED, _GRID, _PAPER = "#010203", "#010204", "#010205", "#010206"
SERIES = ("#020301", "#020302", "#020303", "#020304", "#020305", "#020306")
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--grid)",
    _PAPER: "var(--card)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
}
_WIDTH = 4.7  # inches at 72 units each: small, so that text stays legible on a phone
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a recipe may be called "a$b$"
    "font.size": 8.0,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_SPREAD_FOR_LOG = 5.0


def latency_distributions(variants: Sequence[VariantReport]) -> str:
    """A row per variant: the density of its times, the middle half, the median, every run."""
    with style():
        drawing, axes = canvas(0.6 + 0.85 * len(variants))
        for row, (variant, colour) in enumerate(zip(variants, _colours(variants), strict=True)):
            _distribution(axes, _times(variant), -float(row), colour, variant)
        _time_axis(axes, np.concatenate([_times(variant) for variant in variants]))
        axes.set_ylim(-len(variants) + 0.66, 0.72)
        axes.set_yticks([])
        axes.grid(axis="x")
        return svg(drawing, "distribution", _tips(variants, "row"))


def latency_cumulative(variants: Sequence[VariantReport]) -> str:
    """For each time, the share of runs that were no slower."""
    with style():
        drawing, axes = canvas(2.9)
        for row, (variant, colour) in enumerate(zip(variants, _colours(variants), strict=True)):
            values = np.sort(_times(variant))
            share = np.arange(1, values.size + 1) / values.size * 100.0
            axes.step(
                np.concatenate([values[:1], values]),
                np.concatenate([[0.0], share]),
                where="post",
                color=colour,
                linewidth=1.7,
                label=variant.name,
                gid=f"ecdf-{row}",
            )
        _time_axis(axes, np.concatenate([_times(variant) for variant in variants]))
        axes.set_ylim(0, 102)
        axes.set_yticks([0, 25, 50, 75, 95, 100], ["0", "25", "50 %", "75", "95 %", ""])
        axes.set_ylabel("runs at most this slow")
        axes.grid()
        axes.legend(loc="lower right")
        return svg(drawing, "cumulative", _tips(variants, "ecdf"))


def latency_rounds(variants: Sequence[VariantReport]) -> str:
    """The median of each round against the reference's of the same round."""
    with style():
        drawing, axes = canvas(2.9)
        reference = np.array([np.median(taken) for taken in variants[0].latency.rounds])
        steps = np.arange(1, len(reference) + 1)
        spread = np.concatenate(
            [_relative(variant, reference) for variant in variants if variant.latency.rounds]
        )
        for row, (variant, colour) in enumerate(zip(variants, _colours(variants), strict=True)):
            axes.plot(
                steps,
                _relative(variant, reference),
                color=colour,
                linewidth=1.5,
                marker="o",
                markersize=3.5,
                label=variant.name,
                gid=f"rounds-{row}",
            )
        _ratio_axis(axes, spread)
        axes.set_xlabel("round")
        axes.set_ylabel(f"time against {variants[0].name}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.grid(axis="y")
        axes.legend(loc="best")
        return svg(drawing, "rounds", _tips(variants, "rounds"))


def accuracy_against_latency(variants: Sequence[VariantReport]) -> str | None:
    """The first metric over the median latency, both with their intervals; None without one."""
    if not variants[0].metrics:
        return None
    metric = variants[0].metrics[0]
    with style():
        drawing, axes = canvas(2.9)
        for row, (variant, colour) in enumerate(zip(variants, _colours(variants), strict=True)):
            _accuracy_point(axes, variant, row, colour)
        medians = [variant.latency.median for variant in variants]
        _time_axis(axes, np.array([[m.low, m.value, m.high] for m in medians]).ravel(), pad=0.12)
        lows = [variant.metrics[0].value.low for variant in variants]
        highs = [variant.metrics[0].value.high for variant in variants]
        room = max(max(highs) - min(lows), 0.2) * 0.25
        axes.set_ylim(min(lows) - room, max(highs) + room)
        axes.set_ylabel(f"{metric.name} {metric.unit}".strip())
        axes.grid()
        return svg(drawing, "accuracy", _tips(variants, "point"))


def series(variants: Sequence[VariantReport]) -> list[int]:
    """Numbers of the variants' colours: the reference's is 0, those of Ingot's are odd."""
    next_ingot, next_peer = 1, 2
    numbers = [0]
    for variant in variants[1:]:
        if variant.engine == "ingot":
            numbers.append(next_ingot % len(SERIES))
            next_ingot += 2
        else:
            numbers.append(next_peer % len(SERIES))
            next_peer += 2
    return numbers


def _colours(variants: Sequence[VariantReport]) -> list[str]:
    return [SERIES[number] for number in series(variants)]


def _accuracy_point(axes: Axes, variant: VariantReport, row: int, colour: str) -> None:
    time, value = variant.latency.median, variant.metrics[0].value
    axes.errorbar(
        [time.value],
        [value.value],
        xerr=[[time.value - time.low], [time.high - time.value]],
        yerr=[[value.value - value.low], [value.high - value.value]],
        color=colour,
        linewidth=1.1,
        capsize=2.5,
        alpha=0.65,
    )
    axes.scatter([time.value], [value.value], s=44, color=colour, zorder=3, gid=f"point-{row}")
    axes.annotate(
        variant.name,
        (time.value, value.value),
        xytext=(6, 6 if row % 2 == 0 else -12),
        textcoords="offset points",
        color=_INK,
    )


def _distribution(
    axes: Axes, values: npt.NDArray[np.float64], base: float, fill: str, variant: VariantReport
) -> None:
    # Densities are taken of the logarithm, where they look alike on a linear and a log axis.
    logs = np.log(values)
    if np.ptp(logs) > 1e-6 and values.size > 2:
        low, high = np.quantile(logs, [0.0, 1.0])
        grid = np.linspace(low - 0.02, high + 0.02, 200)
        density = scipy.stats.gaussian_kde(logs)(grid)
        axes.fill_between(
            np.exp(grid),
            base + 0.04,
            base + 0.04 + 0.38 * density / density.max(),
            color=fill,
            alpha=0.45,
            linewidth=0,
            gid=f"row-{-base:.0f}",
        )
    jitter = base - 0.16 + 0.09 * np.sin(np.arange(values.size) * 2.399963)
    axes.scatter(values, jitter, s=4, color=fill, alpha=0.55, linewidths=0)
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    axes.plot([lower, upper], [base, base], color=fill, linewidth=4.5, solid_capstyle="round")
    axes.plot([median], [base], marker="o", markersize=4.5, color=_PAPER, markeredgewidth=0)
    axes.text(
        0.0,
        base + 0.58,
        f"{variant.name}  ·  {formats.milliseconds(median)} ms",
        transform=axes.get_yaxis_transform(),
        va="center",
        fontweight="bold",
    )


def _relative(
    variant: VariantReport, reference: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.array([np.median(taken) for taken in variant.latency.rounds]) / reference


def _times(variant: VariantReport) -> npt.NDArray[np.float64]:
    return np.concatenate([np.asarray(taken) for taken in variant.latency.rounds])


def _time_axis(axes: Axes, values: npt.NDArray[np.float64], pad: float = 0.04) -> None:
    """Milliseconds: linear, or logarithmic where variants are far apart; outliers do not decide."""
    low, high = float(values.min()), float(np.quantile(values, 0.995, method="higher"))
    logarithmic = float(np.quantile(values, 0.9) / np.quantile(values, 0.1)) > _SPREAD_FOR_LOG
    if logarithmic:
        axes.set_xscale("log")
        room = (high / low) ** pad
        axes.set_xlim(low / room, high * room)
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = max(high - low, 0.02 * high) * max(pad, 0.08)
        axes.set_xlim(max(0.0, low - room), high + room)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("milliseconds per inference" + (" (logarithmic)" if logarithmic else ""))


def _ratio_axis(axes: Axes, values: npt.NDArray[np.float64]) -> None:
    if values.max() / values.min() > _SPREAD_FOR_LOG:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formats.times(value)))


def _tips(variants: Sequence[VariantReport], kind: str) -> dict[str, str]:
    """What is shown when the pointer rests on a variant, by the id of its mark."""
    return {
        f"{kind}-{row}": (
            f"{variant.name}: median {formats.milliseconds(variant.latency.median.value)} ms, "
            f"p95 {formats.milliseconds(variant.latency.p95)} ms, {variant.latency.runs} runs"
        )
        for row, variant in enumerate(variants)
    }


def canvas(height: float) -> tuple[Canvas, Axes]:
    """An empty drawing of so many inches, and its axes."""
    drawing = Canvas(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(drawing)
    return drawing, drawing.add_subplot()


def style() -> contextlib.AbstractContextManager[None]:
    """Matplotlib's own style and ours on top, whatever the user has configured."""
    settings: Any = {
        key: value
        for key, value in matplotlib.rcParamsDefault.items()
        if not key.startswith(("backend", "interactive", "toolbar"))
    }
    settings.update(_STYLE)
    return matplotlib.rc_context(settings)


def svg(drawing: Canvas, name: str, tips: dict[str, str]) -> str:
    """The drawing as an SVG element to be put into HTML, its ids its own."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    for mark, tip in tips.items():
        text = text.replace(f'<g id="{mark}">', f'<g id="{mark}"><title>{_escape(tip)}</title>')
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*pt"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*pt"', r"\1", text)
    # Fonts are the page's.
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(
        r"font: ((?:bold |\d+ )*)([\d.]+)px [^;\"]*", r"font-weight: \1; font-size: \2px", text
    )
    text = text.replace("<svg", f'<svg role="img" aria-labelledby="{name}-title"', 1)
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, variable)
    return text.strip()


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
