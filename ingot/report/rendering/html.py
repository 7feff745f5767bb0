"""The report as one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from ingot.passes.record import PassRecord
from ingot.report.rendering import formats, npu, plots
from ingot.report.rendering.optimization import front, trial_rows
from ingot.report.schema import Build, NpuVariant, ReportContents, VariantReport

_MOST_NAMES = 40


@dataclasses.dataclass(frozen=True)
class Plot:
    """A drawing with what it shows."""

    name: str
    title: str
    caption: str
    svg: str


@dataclasses.dataclass(frozen=True)
class Tile:
    """A key figure of the variant that the headline is about.

    Attributes:
        label: What it is.
        value: The figure.
        note: Its interval, or what it is made of.
        mood: ``good``, ``bad`` or ``even``: whether it is better than the reference.
    """

    label: str
    value: str
    note: str
    mood: str


@dataclasses.dataclass(frozen=True)
class PassRow:
    """A pass in the table: its record, and its bars in percent of the longest pass."""

    record: PassRecord
    run_percent: float
    check_percent: float
    operators: str


def page_environment() -> jinja2.Environment:
    """Where the pages' templates are found; what they show is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ingot.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def render_html(report: ReportContents) -> str:
    """Draws the page of a report."""
    environment = page_environment()
    environment.globals |= {"format": formats, "front": front, "trial_rows": trial_rows}
    environment.filters["json"] = lambda value: json.dumps(value, indent=2)
    environment.filters["names"] = _names
    compiled: list[VariantReport | NpuVariant] = [
        *report.variants,
        *_with_own_passes(report.npu),
    ]
    return environment.get_template("report.html.jinja").render(
        report=report,
        tiles=_tiles(report),
        plots=_plots(report),
        builds=[
            (
                variant,
                variant.build,
                _pass_rows(variant.build),
                _idle_names(variant.build),
                _stages(variant.build),
            )
            for variant in compiled
            if variant.build is not None
        ],
        npu=npu,
        series=plots.series(report.variants),
        fastest=min(report.variants, key=lambda variant: variant.latency.median.value).name,
    )


def _with_own_passes(variants: Sequence[NpuVariant]) -> list[NpuVariant]:
    """The variants for NPUs without those that only another NPU tells from an earlier one."""
    return [
        variant
        for index, variant in enumerate(variants)
        if variant.build.passes not in [earlier.build.passes for earlier in variants[:index]]
    ]


def _tiles(report: ReportContents) -> list[Tile]:
    reference = report.variants[0]
    told: list[VariantReport | NpuVariant] = [*report.variants[1:], *report.npu]
    variant = told[report.verdicts.index(report.headline)]
    if isinstance(variant, NpuVariant):
        return _npu_tiles(variant)
    assert variant.speed is not None
    tiles = [
        Tile(
            "Speed",
            formats.times(variant.speed.value),
            f"{formats.times_interval(variant.speed)} · "
            f"{formats.milliseconds(variant.latency.median.value)} against "
            f"{formats.milliseconds(reference.latency.median.value)} ms",
            _mood(variant.speed.low > 1, variant.speed.high < 1),
        ),
        _accuracy_tile(variant),
        _ratio_tile("Peak memory", variant.memory.peak, reference.memory.peak),
        _ratio_tile("Size on disk", variant.size_bytes, reference.size_bytes),
    ]
    if variant.build is not None and variant.build.seconds is not None:
        note = f"to {variant.build.target}, checks included"
        tiles.append(Tile("Compile time", formats.seconds(variant.build.seconds), note, "even"))
    return tiles


def _npu_tiles(variant: NpuVariant) -> list[Tile]:
    estimate = variant.estimate
    memory = npu.memories([variant])
    clock = f"{estimate.cycles:,} cycles at {npu.megahertz(variant)} MHz"
    tiles = [
        Tile("Estimated per second", npu.rate(variant), clock, "even"),
        _accuracy_tile(variant),
        Tile(
            "On the NPU",
            f"{estimate.share_of_macs:.1%}",
            f"of the multiply-adds; nodes left to the CPU: {len(estimate.left)}",
            "even",
        ),
    ]
    tiles += [
        Tile(f"Estimated peak, {name}", npu.peak(variant, name), f"{variant.name}", "even")
        for name in memory
    ]
    return tiles


def _accuracy_tile(variant: VariantReport | NpuVariant) -> Tile:
    if not variant.metrics or variant.metrics[0].difference is None:
        found = variant.agreement
        right = found is not None and found.finite
        value = "exact" if found is not None and found.exact else formats.agreement(variant)
        source = "" if found is None else f"on {found.source}"
        return Tile("Outputs", value, source, _mood(False, not right))
    metric = variant.metrics[0]
    assert metric.difference is not None
    change = metric.difference.value
    points = " points" if metric.unit == "%" else ""
    note = f"{formats.difference_interval(metric.difference)} · {formats.metric_value(metric)}"
    if metric.identical == metric.n:
        note = f"{formats.metric_value(metric)}, all {metric.n:,} predictions alike"
    better = change > 0 if metric.higher_is_better else change < 0
    return Tile(
        metric.name.capitalize(),
        "same" if change == 0 else formats.difference(change) + points,
        note,
        _mood(better, change != 0 and not better),
    )


def _ratio_tile(label: str, value: int, reference: int) -> Tile:
    return Tile(
        label,
        formats.times(value / reference),
        f"{formats.size(value)} against {formats.size(reference)}",
        _mood(value < 0.98 * reference, value > 1.02 * reference),
    )


def _mood(better: bool, worse: bool) -> str:
    return "good" if better else "bad" if worse else "even"


def _plots(report: ReportContents) -> list[Plot]:
    variants = report.variants
    drawn = [
        Plot(
            "distribution",
            "Latency distributions",
            "Every timed run as a dot; above it the density, the middle half as a bar, and the "
            "median. Further left is better.",
            plots.latency_distributions(variants),
        )
    ]
    accuracy = plots.accuracy_against_latency(variants)
    if accuracy is not None:
        drawn.append(
            Plot(
                "accuracy",
                "Accuracy against latency",
                "Up and to the left is better. Bars are 95 % intervals of each figure by itself; "
                "the paired differences in the table are sharper.",
                accuracy,
            )
        )
    drawn += [
        Plot(
            "cumulative",
            "How often it is how slow",
            "The share of runs that took at most so long; the tail is the upper right.",
            plots.latency_cumulative(variants),
        ),
        Plot(
            "rounds",
            "Steadiness over the rounds",
            "The median of each round against the reference's in the same round; level lines mean "
            "that nothing disturbed one side alone.",
            plots.latency_rounds(variants),
        ),
    ]
    return drawn


def _pass_rows(build: Build) -> list[PassRow]:
    longest = max((record.seconds + record.check_seconds for record in build.passes), default=0.0)
    return [
        PassRow(
            record,
            100.0 * record.seconds / longest if longest else 0.0,
            100.0 * record.check_seconds / longest if longest else 0.0,
            _operators(record.op_delta),
        )
        for record in build.passes
        if not _idle(record)
    ]


def _idle_names(build: Build) -> list[str]:
    """The passes that had nothing to do whenever they ran."""
    busy = {record.name for record in build.passes if not _idle(record)}
    names = dict.fromkeys(record.name for record in build.passes)
    return [name for name in names if name not in busy]


def _idle(record: PassRecord) -> bool:
    """Whether a pass found nothing to do and nothing to tell."""
    return not record.changed and not record.declined


def _operators(delta: Mapping[str, int]) -> str:
    """Changes in the number of operators, the largest first."""
    ranked = sorted(delta.items(), key=lambda entry: (-abs(entry[1]), entry[0]))
    return ", ".join(f"{count:+d} {name}" for name, count in ranked if count)


def _stages(build: Build) -> list[tuple[str, float, float]]:
    """Stages with their seconds and their percentage of the longest."""
    longest = max(build.stage_seconds.values(), default=0.0)
    return [
        (name, seconds, 100.0 * seconds / longest if longest else 0.0)
        for name, seconds in build.stage_seconds.items()
    ]


def _names(names: Any) -> str:
    """Names in a line, cut where there are too many to read."""
    shown = list(names)
    more = f" … and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    return ", ".join(shown[:_MOST_NAMES]) + more
