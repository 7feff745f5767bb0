"""Changes beyond the noise: the last runs of a series against those before.

A series is what is comparable: one quantity of one model and recipe, measured in one way on one
kind of machine. A change is found where it is both beyond the noise and large enough to matter.
The noise is estimated from the earlier runs on a logarithmic scale, and is never taken to be less
than what the intervals within the runs say. False alarms are shared out among all comparisons of
a check (Bonferroni), so that their rate holds for the check as a whole.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from ingot.errors import UsageError
from ingot.report.history.noise import FEWEST_RUNS, bound, location, spread
from ingot.report.history.runs import Found, Run

Outcome: TypeAlias = Literal["worse", "better", "as before", "not enough runs"]

# Changes below these shares do not matter: of most quantities, and of some.
_LEAST = 0.03
_LEAST_OF = {"latency_p99_ms": 0.10, "size_mb": 0.01}
_LEAST_OF_ACCURACY = 0.001
_TAILS = ("latency_p99_ms",)
# More takes long to draw noise for, and tells of times that are long past.
_MOST_RUNS = 50
# Half of a 95 % interval of a normal distribution in standard deviations.
_HALF = 1.96


@dataclasses.dataclass(frozen=True)
class Series:
    """What is comparable of a history, in the order it was recorded.

    Attributes:
        runs: Each run and its figure.
    """

    runs: tuple[tuple[Run, Found], ...]

    @property
    def last(self) -> Run:
        """The newest run."""
        return self.runs[-1][0]

    @property
    def figure(self) -> Found:
        """The newest figure."""
        return self.runs[-1][1]


@dataclasses.dataclass(frozen=True)
class CheckSettings:
    """How to check.

    Attributes:
        runs: How many of the newest runs are judged together, by their median.
        against: How many of the runs before are taken at most.
        since: The first commit, or the first day (ISO 8601), whose runs are taken; None for any.
        false_alarms: The share of checks of what has not changed that may find it worse.
        least: The smallest relative change that matters, 1 for a factor of 2 either way; None for
            each quantity's own.
    """

    runs: int = 1
    against: int = 20
    since: str | None = None
    false_alarms: float = 0.05
    least: float | None = None

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            UsageError: A number is not possible.
        """
        if not 1 <= self.runs <= _MOST_RUNS:
            raise UsageError(f"{self.runs} runs cannot be judged: give 1 to {_MOST_RUNS}")
        if not FEWEST_RUNS <= self.against <= _MOST_RUNS:
            raise UsageError(
                f"{self.against} earlier runs cannot tell the noise: give {FEWEST_RUNS} to "
                f"{_MOST_RUNS}"
            )
        if not 0.0 < self.false_alarms < 0.5:
            raise UsageError(
                f"false alarms in {100 * self.false_alarms:g} % of checks are not possible: give "
                "more than 0 and less than 50"
            )
        if self.least is not None and not 0.0 <= self.least < math.inf:
            raise UsageError(f"a change of {100 * self.least:g} % is not possible: give 0 or more")


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What became of one series.

    Attributes:
        series: Which one.
        outcome: The finding.
        earlier: How many earlier runs it was held against.
        value: The median of the new runs.
        usual: What the earlier runs were about; None where there are none.
        change: (value - usual) ÷ usual; None likewise.
        bound: The share by which it would have to be worse to be found so; None where there are not
            enough runs.
    """

    series: Series
    outcome: Outcome
    earlier: int
    value: float
    usual: float | None
    change: float | None
    bound: float | None


def series_of(runs: Iterable[Run]) -> list[Series]:
    """The series of a history, in the order in which they began."""
    found: dict[tuple[str, ...], list[tuple[Run, Found]]] = {}
    for run in runs:
        for figure in run.figures:
            key = (
                run.machine, run.model, run.recipe, run.target, run.setting,
                figure.quantity, figure.basis, figure.unit,
            )  # fmt: skip
            found.setdefault(key, []).append((run, figure))
    return [Series(tuple(entries)) for entries in found.values()]


def current(series: Sequence[Series], machine: str | None, *, tails: bool) -> list[Series]:
    """The series that were measured on the newest commit.

    Args:
        series: Those of a history.
        machine: The kind of machine; None for each, with the newest commit on it.
        tails: Whether p99 is among them. It is what other processes do to the model as much as
            what the model does, and comes and goes with them: no noise that runs share.
    """
    chosen = []
    for kind in dict.fromkeys(entry.last.machine for entry in series):
        here = [entry for entry in series if entry.last.machine == kind]
        newest = max(here, key=lambda entry: entry.last.number or 0).last
        if machine is None or kind == machine:
            chosen += [
                entry
                for entry in here
                if entry.last.commit == newest.commit
                and (tails or entry.figure.quantity not in _TAILS)
            ]
    return chosen


def check(series: Sequence[Series], settings: CheckSettings) -> list[Judgement]:
    """Judges the newest runs of each series against those before.

    Args:
        series: The series.
        settings: How.

    Returns:
        A judgement for each, in order.

    Raises:
        UsageError: No run is of the commit, or as late as the day, that runs are taken since.
    """
    kept = [(entry, *_parted(entry, settings)) for entry in series]
    if settings.since is not None and series and not any(new for _, _, new in kept):
        raise UsageError(f"no run of this history is since {settings.since!r}")
    compared = sum(
        entry.figure.noisy and len(before) >= FEWEST_RUNS and len(new) == settings.runs
        for entry, before, new in kept
    )
    alpha = settings.false_alarms / max(compared, 1)
    return [_judge(entry, before, new, settings, alpha) for entry, before, new in kept]


def _parted(series: Series, settings: CheckSettings) -> tuple[list[Found], list[Found]]:
    """The earlier figures and the new ones."""
    begin = 0
    if settings.since is not None:
        begin = _first(series, settings.since)
    entries = [figure for _, figure in series.runs[begin:]]
    new = entries[-settings.runs :]
    return entries[: -settings.runs][-settings.against :], new


def _first(series: Series, since: str) -> int:
    """Index of the first run of a commit, or else of a day or later."""
    for index, (run, _) in enumerate(series.runs):
        if run.commit is not None and run.commit.startswith(since):
            return index
    is_day = re.match(r"\d{4}-\d\d", since) is not None
    for index, (run, _) in enumerate(series.runs):
        if is_day and run.recorded >= since:
            return index
    return len(series.runs)


def _judge(
    series: Series,
    before: Sequence[Found],
    new: Sequence[Found],
    settings: CheckSettings,
    alpha: float,
) -> Judgement:
    newest = series.figure
    value = float(np.median([figure.value for figure in new])) if new else newest.value
    enough = FEWEST_RUNS if newest.noisy else 1
    if len(new) < settings.runs or len(before) < enough:
        return Judgement(series, "not enough runs", len(before), value, None, None, None)
    least = _least(newest, settings.least)
    if newest.noisy:
        usual, lower, upper = _beyond_noise(before, new, alpha)
    else:
        values = [figure.value for figure in before]
        usual, lower, upper = float(np.median(values)), min(values), max(values)
    if usual > 0:  # as factors, so that half the throughput is as much as twice the latency
        lower, upper = min(lower, usual / (1 + least)), max(upper, usual * (1 + least))
    else:
        smallest = least * abs(usual)
        lower, upper = min(lower, usual - smallest), max(upper, usual + smallest)
    worse, better = value < lower, value > upper
    if not newest.higher_is_better:
        worse, better = better, worse
    limit = lower if newest.higher_is_better else upper
    return Judgement(
        series=series,
        outcome="worse" if worse else "better" if better else "as before",
        earlier=len(before),
        value=value,
        usual=usual,
        change=_share(value, usual),
        bound=abs(_share(limit, usual)),
    )


def _beyond_noise(
    before: Sequence[Found], new: Sequence[Found], alpha: float
) -> tuple[float, float, float]:
    """What is usual, and between what noise stays in all but a share ``alpha`` on either side."""
    logs = np.log([[figure.value for figure in before]])
    middle = float(location(logs)[0])
    within = float(np.median([_error(figure) for figure in before]))
    scale = max(float(spread(logs)[0]), within, *(_error(figure) for figure in new))
    reach = bound(len(before), len(new), alpha) * scale
    return math.exp(middle), math.exp(middle - reach), math.exp(middle + reach)


def _error(figure: Found) -> float:
    """The standard error of a figure's logarithm, by the interval within its run."""
    if figure.high is None:
        return (math.log(figure.value) - math.log(figure.low)) / _HALF
    return (math.log(figure.high) - math.log(figure.low)) / (2 * _HALF)


def _least(figure: Found, asked: float | None) -> float:
    if asked is not None:
        return asked
    if figure.quantity in _LEAST_OF:
        return _LEAST_OF[figure.quantity]
    return _LEAST if figure.noisy else _LEAST_OF_ACCURACY


def _share(value: float, usual: float) -> float:
    if value == usual:
        return 0.0
    return (value - usual) / abs(usual) if usual else math.copysign(math.inf, value - usual)
