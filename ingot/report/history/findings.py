"""A judgement on a series in words."""

from __future__ import annotations

from ingot.report.history.changes import Judgement
from ingot.report.verdict import signed

_MINUS = "\N{MINUS SIGN}"


def in_words(judgement: Judgement) -> str:
    """What became of a series, in a sentence without its name."""
    unit = judgement.series.figure.unit
    value = f"{judgement.value:.4g} {unit}".rstrip()
    if judgement.usual is None or judgement.change is None or judgement.bound is None:
        runs = judgement.earlier
        return f"{value}; {runs or 'no'} earlier run{'s' * (runs != 1)} to hold it against"
    change = (
        "the same"
        if abs(judgement.change) < 5e-5
        else f"{signed(100 * judgement.change).replace('-', _MINUS)} %"
    )
    return (
        f"{value}, usual is {judgement.usual:.4g} over {judgement.earlier} run"
        f"{'s' * (judgement.earlier != 1)}: {change} (worse from {100 * judgement.bound:.3g} % on)"
    )
