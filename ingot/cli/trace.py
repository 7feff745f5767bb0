"""``ingot trace``: what a trace says, in figures, as a page to look at, and against another one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ingot.cli.text import result_console
from ingot.errors import UsageError
from ingot.files import atomic_file, require_writable
from ingot.report.rendering import formats
from ingot.report.traces.comparison import ComparedStage, compare_traces
from ingot.report.traces.kernels import KernelFigures, Peaks, kernel_figures, peaks_for
from ingot.report.traces.page import render_page
from ingot.report.traces.reading import read_trace
from ingot.report.traces.selection import Selection, parse_time
from ingot.report.traces.summary import TraceSummary, summarize


def trace(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="A trace: Chrome trace JSON, *.json or *.json.gz; several with --against.",
        ),
    ],
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Only stages of this name; * stands for any characters. Repeatable."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Only what begins from then on, such as 250us, 12ms, 1.5s.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Only what begins before then.")] = None,
    request: Annotated[
        list[str] | None, typer.Option(help="Only events of this request. Repeatable.")
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, help="Show this many stages and kernels, the slowest first.")
    ] = 20,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another trace, compared with stage by stage. Repeatable."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page to look at: one file, no network.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON, with all rows.")
    ] = False,
) -> None:
    """Show where the time of a profiling session went.

    Example: `ingot trace startup.json.gz --stage 'conv*' --start 10ms --top 5`
    """
    selection = Selection(
        stages=tuple(stage or ()),
        requests=tuple(request or ()),
        start=None if start is None else parse_time(start, "--start"),
        end=None if end is None else parse_time(end, "--end"),
    )
    others = against or []
    if len(files) > 1 and not others:
        raise UsageError(f"{len(files)} traces: give one, or what to compare them with (--against)")
    if html is not None:
        require_writable(html, inputs=[*files, *others])
    traces = [selection.apply(read_trace(path)) for path in files]
    compared: tuple[ComparedStage, ...] = ()
    if others:
        compared = compare_traces(traces, [selection.apply(read_trace(path)) for path in others])
    found, file = traces[0], files[0]
    summary = summarize(found)
    peaks = peaks_for(found) if html is not None or not others else Peaks()
    kernels = kernel_figures(found, peaks.roofline)
    if html is not None:
        page = render_page(
            found, summary, title=file.name, kernels=kernels, peaks=peaks, compared=compared,
            against=others[0].name if others else None,
            several=len(others) > 1,
        )  # fmt: skip
        with atomic_file(html) as out:
            out.write(page.encode("utf-8", "replace"))
    if as_json:
        typer.echo(json.dumps(_document(summary, kernels, peaks, compared), indent=2))
        return
    if others:
        _print_comparison(compared, top, several=len(others) > 1)
    else:
        _print_summary(file, summary, top)
        _print_kernels(kernels, peaks, top)
    if html is not None:
        typer.echo(f"page: {html}")


def _document(
    summary: TraceSummary,
    kernels: tuple[KernelFigures, ...],
    peaks: Peaks,
    compared: tuple[ComparedStage, ...],
) -> dict[str, Any]:
    return {
        "summary": summary.model_dump(mode="json"),
        "kernels": [row.model_dump(mode="json") for row in kernels],
        "roofline": None if peaks.roofline is None else dataclasses.asdict(peaks.roofline),
        "compared": [row.model_dump(mode="json") for row in compared],
    }


def _print_summary(file: Path, summary: TraceSummary, top: int) -> None:
    console = result_console()
    if summary.session is not None:
        begun = f", begun {summary.started}" if summary.started else ""
        console.print(f"session {summary.session}{begun}", soft_wrap=True)
    console.print(_contents(file, summary), soft_wrap=True)
    if summary.machine:
        console.print(", ".join(f"{k} {v}" for k, v in summary.machine.items()), soft_wrap=True)
    for note in summary.notes:
        console.print(note, soft_wrap=True)
    if summary.dropped:
        console.print(
            f"The session had no room for {summary.dropped:,} more entries: what is here is not "
            "all.",
            soft_wrap=True,
        )
    if summary.stages:
        console.print()
        console.print(_stage_table(summary, top))
    if summary.estimates:
        console.print()
        console.print(_estimate_table(summary, top))


def _contents(file: Path, summary: TraceSummary) -> str:
    parts = [
        _counted(summary.events, "event"),
        _counted(summary.marks, "mark"),
        _counted(summary.samples, "value"),
        _counted(summary.requests, "request"),
        _counted(summary.threads, "thread"),
    ]
    shown = ", ".join(part for part in parts if part)
    return f"{file}: {shown or 'no event'} in {formats.duration(summary.duration_us)}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}" if count else ""


def _stage_table(summary: TraceSummary, top: int) -> Table:
    table = _table("stage", "source")
    for heading in ("count", "average", "p50", "p99", "total", "self", "share"):
        table.add_column(heading, justify="right")
    shown = summary.stages[:top]
    for row in shown:
        table.add_row(
            row.name,
            row.source,
            f"{row.count:,}",
            formats.duration(row.mean_us),
            formats.duration(row.p50_us),
            formats.duration(row.p99_us),
            formats.duration(row.total_us),
            formats.duration(row.self_us),
            formats.percent(100 * row.share),
        )
    if rest := summary.stages[len(shown) :]:
        own, share = sum(row.self_us for row in rest), sum(row.share for row in rest)
        count = f"{sum(row.count for row in rest):,}"
        blank = [""] * 4
        table.add_row(
            f"{len(rest)} more", "", count, *blank, formats.duration(own),
            formats.percent(100 * share),
        )  # fmt: skip
    return table


def _estimate_table(summary: TraceSummary, top: int) -> Table:
    table = _table("estimated, not measured")
    for heading in ("count", "cycles", "time"):
        table.add_column(heading, justify="right")
    for row in summary.estimates[:top]:
        cycles = formats.MISSING if row.cycles is None else f"{row.cycles:,.0f}"
        table.add_row(row.name, f"{row.count:,}", cycles, formats.duration(row.estimated_us))
    return table


def _print_kernels(kernels: tuple[KernelFigures, ...], peaks: Peaks, top: int) -> None:
    if not kernels:
        return
    table = _table("kernel", "operators")
    for heading in ("calls", "p50", "total", "share", "Gop/s", "GB/s", "of roofline"):
        table.add_column(heading, justify="right")
    shown = kernels[:top]
    for row in shown:
        table.add_row(
            row.kernel,
            row.operators or formats.MISSING,
            f"{row.calls:,}",
            formats.duration(row.p50_us),
            formats.duration(row.total_us),
            formats.percent(100 * row.share),
            formats.three_digits(row.gops),
            formats.three_digits(row.gbs),
            formats.percent(row.percent_of_roofline),
        )
    if rest := kernels[len(shown) :]:
        table.add_row(
            f"{len(rest)} more", "", f"{sum(row.calls for row in rest):,}", "",
            formats.duration(sum(row.total_us for row in rest)),
            formats.percent(100 * sum(row.share for row in rest)),
        )  # fmt: skip
    console = result_console()
    console.print()
    console.print(table)
    if found := peaks.roofline:
        console.print(
            f"This machine now, on {found.threads} thread{'s' * (found.threads > 1)}: "
            f"{found.gflops:.0f} Gop/s in fp32, {found.int8_gops:.0f} in int8; "
            f"{found.l2_gbs:.0f} GB/s from level 2, {found.l3_gbs:.0f} from level 3, "
            f"{found.dram_gbs:.0f} from memory.",
            soft_wrap=True,
        )
    elif peaks.reason is not None:
        console.print(peaks.reason, soft_wrap=True)


def _print_comparison(compared: tuple[ComparedStage, ...], top: int, *, several: bool) -> None:
    table = _table("stage", "source")
    for heading in ("count", "there", "p50", "there", "difference", "interval", "in total"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for row in compared[:top]:
        table.add_row(
            row.name,
            row.source,
            f"{row.count:,}",
            f"{row.reference_count:,}",
            formats.duration(row.p50_us),
            formats.duration(row.reference_p50_us),
            _change(row),
            _interval(row),
            formats.duration_difference(row.total_difference_us),
            row.verdict.value,
        )
    console = result_console()
    console.print(table)
    if len(compared) > top:
        console.print(f"{len(compared) - top} more stages: --top {len(compared)} shows all.")
    console.print(formats.comparison(several=several), soft_wrap=True)


def _interval(row: ComparedStage) -> str:
    if row.low_us is None:
        return formats.MISSING
    low, high = (formats.duration_difference(end) for end in (row.low_us, row.high_us))
    return f"{low} to {high}"


def _change(row: ComparedStage) -> str:
    if row.difference_us is None:
        return formats.MISSING
    shown = formats.duration_difference(row.difference_us)
    if row.verdict.found and row.reference_p50_us:
        shown += f" ({100 * row.difference_us / row.reference_p50_us:+.0f} %)"
    return shown


def _table(*names: str) -> Table:
    table = Table(box=None, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table
