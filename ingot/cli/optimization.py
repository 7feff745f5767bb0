"""What an optimization tried, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from ingot.compiler.optimization_record import Optimization, StepTrial
from ingot.report.rendering.optimization import front


def optimization_tables(found: Optimization) -> Iterator[Table | str]:
    """A table of what was tried, then what came out, in sentences."""
    table = Table("step", "", "faster", "bytes", "lost", box=None, header_style="bold")
    table.add_column("why", overflow="fold")
    for trial in found.trials:
        table.add_row(trial.name, trial.decision, *_figures(trial), trial.reason)
    yield table
    yield headline(found)
    if told := front(found):
        yield told
    yield from found.notes


def headline(found: Optimization) -> str:
    """The outcome in a sentence."""
    saved = found.reference_bytes / max(found.bytes, 1)
    parts = [f"{saved:.2f}x smaller"]
    if found.speed is not None:
        speed = found.speed
        said = (
            f"95 % interval {speed.low:.2f} to {speed.high:.2f}, {found.threads} threads"
            if speed.source == "measured"
            else speed.source
        )
        parts.insert(0, f"{speed.ratio:.2f}x as fast ({said})")
    if found.accuracy is not None:
        parts.append(str(found.accuracy))
    if not found.kept:
        return f"steps kept: none, {found.reference} is the best"
    return f"steps kept: {', '.join(found.kept)}; against {found.reference}: {', '.join(parts)}"


def _figures(trial: StepTrial) -> tuple[str, str, str]:
    speed, accuracy = trial.speed, trial.accuracy
    return (
        "" if speed is None else f"{speed.ratio:.2f}x",
        "" if trial.bytes is None else f"{trial.bytes:,}",
        "" if accuracy is None else f"{accuracy.loss:+.2f}",
    )
