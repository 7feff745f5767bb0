"""Range methods: which interval of a tensor's values its integers are to represent.

Every method is given the statistics of a tensor and works for symmetric and asymmetric ranges and
any number of bits.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from ingot.calibration.ranges.base import Range, RangeMethod
from ingot.calibration.ranges.entropy import Entropy
from ingot.calibration.ranges.min_max import MinMax
from ingot.calibration.ranges.moving_average import MovingAverage
from ingot.calibration.ranges.mse import MeanSquaredError
from ingot.calibration.ranges.percentile import Percentile
from ingot.calibration.statistics import TensorStatistics
from ingot.errors import UsageError

__all__ = ["METHODS", "Range", "RangeMethod", "choose_range", "range_method"]

METHODS: Mapping[str, Callable[[], RangeMethod]] = {
    "min_max": MinMax,
    "moving_average": MovingAverage,
    "percentile": Percentile,
    "entropy": Entropy,
    "mse": MeanSquaredError,
}
"""The methods by name."""


def range_method(spec: str) -> RangeMethod:
    """Makes a range method of what a user writes.

    Args:
        spec: A name of ``METHODS``; ``percentile:99.9`` sets the percentage.

    Raises:
        UsageError: There is no such method, or the percentage is none.
    """
    name, separator, option = spec.partition(":")
    if name not in METHODS:
        nearest = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise UsageError(f"no range method {spec!r}; {hint}possible are {', '.join(METHODS)}")
    if not separator:
        return METHODS[name]()
    if name != "percentile":
        raise UsageError(f"range method {name!r} takes no option, and {spec!r} gives one")
    try:
        percentage = float(option)
    except ValueError:
        raise UsageError(f"{spec!r}: {option!r} is no percentage; write percentile:99.9") from None
    return Percentile(percentage)


def choose_range(
    statistics: TensorStatistics,
    method: str | RangeMethod = "mse",
    *,
    symmetric: bool = False,
    bits: int = 8,
) -> Range:
    """Chooses the range of a tensor.

    Args:
        statistics: What was seen of the tensor.
        method: A method, or what :func:`range_method` makes one of.
        symmetric: Whether the range is to be ``[-a, a]`` (int8 with a zero point of 0).
        bits: Of the integers, at least 2.

    Returns:
        A range with zero in it, that reaches no further than the data and zero do (symmetric: than
        the largest magnitude). It is empty (0 to 0) for a tensor that is zero throughout.

    Raises:
        UsageError: The method is unknown or ``bits`` is below 2.
    """
    if bits < 2:
        raise UsageError(f"{bits} bits are too few for a range: give 2 or more")
    chosen = range_method(method) if isinstance(method, str) else method
    return chosen.choose(statistics, symmetric=symmetric, bits=bits)
