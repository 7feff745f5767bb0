"""The history as one HTML page: every quantity of every series, run by run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ingot.files import atomic_file
from ingot.report.history.changes import Judgement, Outcome
from ingot.report.history.findings import in_words
from ingot.report.history.runs import SPEED, Found, Run
from ingot.report.quantities import QUANTITIES
from ingot.report.rendering import plots
from ingot.report.rendering.html import page_environment

_MOODS: dict[Outcome, str] = {
    "worse": "bad", "better": "good", "as before": "even", "not enough runs": "open",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Panel:
    """One quantity of a section: its drawing, and what was found."""

    name: str
    title: str
    outcome: str
    mood: str
    told: str
    svg: str


@dataclasses.dataclass(frozen=True)
class Section:
    """What was measured of one model and recipe in one way on one kind of machine."""

    run: Run
    panels: tuple[Panel, ...]


def write_history(judgements: Sequence[Judgement], path: Path) -> None:
    """Writes the page, whole or not at all.

    Raises:
        IngotError: The file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(render_history(judgements).encode())


def render_history(judgements: Sequence[Judgement]) -> str:
    """Draws the page; sections and panels in the order of the judgements."""
    sections: dict[tuple[str, ...], list[Panel]] = {}
    of: dict[tuple[str, ...], Run] = {}
    for index, judgement in enumerate(judgements):
        run = judgement.series.last
        key = (run.machine, run.model, run.recipe, run.target, run.setting)
        of[key] = run
        sections.setdefault(key, []).append(_panel(f"trend-{index}", judgement))
    counts = dict.fromkeys(_MOODS, 0)
    for judgement in judgements:
        counts[judgement.outcome] += 1
    return (
        page_environment()
        .get_template("history.html.jinja")
        .render(
            sections=[Section(of[key], tuple(panels)) for key, panels in sections.items()],
            counts=[
                (outcome, _MOODS[outcome], count) for outcome, count in counts.items() if count
            ],
            machines=len({run.machine for run in of.values()}),
        )
    )


def label(quantity: str) -> str:
    """A quantity for a reader."""
    if quantity == SPEED:
        return "speed against the peer beside it"
    return QUANTITIES[quantity].about if quantity in QUANTITIES else quantity


def _panel(name: str, judgement: Judgement) -> Panel:
    return Panel(
        name=name,
        title=label(judgement.series.figure.quantity),
        outcome=judgement.outcome,
        mood=_MOODS[judgement.outcome],
        told=in_words(judgement),
        svg=_trend(name, judgement),
    )


def _trend(name: str, judgement: Judgement) -> str:
    """Every run with its interval; what is usual, and from where on it would be worse."""
    runs = judgement.series.runs
    figures = [figure for _, figure in runs]
    places = np.arange(len(runs))
    values = np.array([figure.value for figure in figures])
    low = np.array([figure.low for figure in figures])
    high = np.array([figure.value if figure.high is None else figure.high for figure in figures])
    with plots.style():
        drawing, axes = plots.canvas(2.2)
        axes.errorbar(
            places, values, yerr=[values - low, high - values],
            color=plots.SERIES[0], linewidth=1.0, elinewidth=1.0, alpha=0.6,
        )  # fmt: skip
        axes.scatter(places[:-1], values[:-1], s=16, color=plots.SERIES[0], zorder=3)
        axes.scatter(places[-1:], values[-1:], s=34, color=plots.SERIES[1], zorder=4)
        for place, value in zip(places, values, strict=True):
            # A mark of its own for the pointer, which tells the run.
            axes.scatter([place], [value], s=60, alpha=0.0, zorder=5, gid=f"run-{place}")
        _usual(axes, judgement, len(runs))
        _axes(axes, runs)
        return plots.svg(drawing, name, {f"run-{i}": _tip(*entry) for i, entry in enumerate(runs)})


def _usual(axes: Axes, judgement: Judgement, runs: int) -> None:
    if judgement.usual is None or judgement.bound is None or not np.isfinite(judgement.bound):
        return
    reach = [-0.4, runs - 0.6]
    sign = -1.0 if judgement.series.figure.higher_is_better else 1.0
    limit = judgement.usual + sign * judgement.bound * abs(judgement.usual)
    axes.plot(reach, [judgement.usual] * 2, color=plots.SERIES[2], linewidth=1.0)
    axes.plot(reach, [limit] * 2, color=plots.SERIES[2], linewidth=0.9, linestyle=(0, (3, 3)))


def _axes(axes: Axes, runs: Sequence[tuple[Run, Found]]) -> None:
    axes.set_xlim(-0.5, len(runs) - 0.5)
    locator = MaxNLocator(integer=True, nbins=5, min_n_ticks=1)
    ticks = [int(t) for t in locator.tick_values(0, max(len(runs) - 1, 1)) if 0 <= t < len(runs)]
    # Of runs of one day, the hour; of others, the day.
    part = slice(11, 16) if runs[0][0].recorded[:10] == runs[-1][0].recorded[:10] else slice(10)
    axes.set_xticks(ticks, [_when(runs[tick][0], part) for tick in ticks])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_ylabel(runs[-1][1].unit)
    axes.grid(axis="y")


def _when(run: Run, part: slice) -> str:
    when = run.recorded[part]
    return when if run.commit is None else f"{when}\n{run.commit[:8]}"


def _tip(run: Run, figure: Found) -> str:
    commit = "" if run.commit is None else f", commit {run.commit}"
    until = "" if figure.high is None else f" to {figure.high:.4g}"
    interval = f" ({figure.low:.4g}{until})" if figure.low < figure.value else ""
    value = f"{figure.value:.4g} {figure.unit}".rstrip()
    return f"run {run.number}, {run.recorded}{commit}: {value}{interval}"
