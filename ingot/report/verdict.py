"""The finding in words."""

from __future__ import annotations

from ingot.report.schema import DataFacts, MetricFigures, NpuVariant, VariantReport


def verdict(variant: VariantReport, reference: VariantReport, data: DataFacts | None) -> str:
    """One sentence on how a variant stands to the reference: speed, then accuracy."""
    return f"{variant.name} is {_speed(variant, reference)}, {_accuracy(variant, data)}."


def npu_verdict(variant: NpuVariant, data: DataFacts | None) -> str:
    """One sentence on what an NPU is estimated to do, and how near its outputs are."""
    estimate = variant.estimate
    if estimate.inferences_per_second is None:
        told = "leaves everything to the CPU"
    else:
        told = (
            f"is estimated by {estimate.source} at {estimate.inferences_per_second:,.0f} "
            f"inferences per second ({estimate.cycles:,} cycles at {estimate.clock_hz / 1e6:.0f} "
            "MHz)"
        )
    return f"{variant.name} {told}, {_accuracy(variant, data)}."


def _speed(variant: VariantReport, reference: VariantReport) -> str:
    assert variant.speed is not None
    speed = variant.speed
    interval = f"95 % interval {speed.low:.2f} to {speed.high:.2f}"
    if speed.low <= 1.0 <= speed.high:
        return f"as fast as {reference.name} ({speed.value:.2f}x, {interval})"
    return f"{ratio(speed.value)} as fast as {reference.name} ({interval})"


def _accuracy(variant: VariantReport | NpuVariant, data: DataFacts | None) -> str:
    if variant.metrics and data is not None:
        return _metric(variant.metrics[0], data)
    agreement = variant.agreement
    assert agreement is not None
    if agreement.blank_output is not None:
        return (
            f"but not compared: output {agreement.blank_output} has no finite number on "
            f"{agreement.source}"
        )
    if agreement.exact:
        return f"with outputs equal bit by bit on {agreement.source}"
    if not agreement.finite or agreement.max_abs_error is None:
        return f"but with outputs that are no finite numbers on {agreement.source}"
    noise = "" if agreement.sqnr_db is None else f" (SQNR {agreement.sqnr_db:.0f} dB)"
    return (
        f"with outputs that differ by at most {agreement.max_abs_error:.2g}{noise} "
        f"on {agreement.source}"
    )


def _metric(metric: MetricFigures, data: DataFacts) -> str:
    assert metric.difference is not None
    value, difference = with_unit(metric.value.value, metric.unit), metric.difference
    if difference.value == 0.0:
        alike = ", every prediction alike," if metric.identical == metric.n else ""
        return f"with the same {metric.name} ({value}){alike} on {data.description}"
    direction = "higher" if difference.value > 0 else "lower"
    return (
        f"with {metric.name} {abs(difference.value):.2f}{_points(metric)} {direction} "
        f"({value}; 95 % interval {signed(difference.low)} to {signed(difference.high)}) "
        f"on {data.description}"
    )


def ratio(value: float) -> str:
    """A ratio with three significant digits, such as 0.0213x, 1.08x or 12.4x."""
    decimals = 2 if value >= 0.1 else 4
    return f"{value:.{1 if value >= 10 else decimals}f}x"


def signed(value: float) -> str:
    """A difference with its sign, and none when it rounds to zero."""
    return f"{value:+.2f}" if round(value, 2) else "0.00"


def with_unit(value: float, unit: str) -> str:
    """A metric's value with its unit."""
    return f"{value:.2f} {unit}".rstrip()


def _points(metric: MetricFigures) -> str:
    return " points" if metric.unit == "%" else ""
