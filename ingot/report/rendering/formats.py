"""Numbers as a reader wants them."""

from __future__ import annotations

from ingot.compiler.accuracy.budget_record import BudgetFacts
from ingot.report.schema import (
    Figure,
    MetricFigures,
    NpuVariant,
    ReportContents,
    UsageFigures,
    VariantReport,
)
from ingot.report.verdict import signed, with_unit

MISSING = "–"  # noqa: RUF001 - an en dash, as tables have it
_TIMES = "\N{MULTIPLICATION SIGN}"
_MINUS = "\N{MINUS SIGN}"
_THIN = "\N{NARROW NO-BREAK SPACE}"


def milliseconds(value: float | None) -> str:
    """A time in ms with three significant digits, without the unit."""
    return three_digits(value)


def percent(value: float | None) -> str:
    """A percentage with its unit, to a tenth below ten."""
    if value is None:
        return MISSING
    return f"{value:.0f}{_THIN}%" if value >= 10 else f"{value:.1f}{_THIN}%"


def three_digits(value: float | None) -> str:
    """A number of at least a thousandth with three significant digits."""
    if value is None:
        return MISSING
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def seconds(value: float | None) -> str:
    """A duration with its unit."""
    if value is None:
        return MISSING
    if value >= 120:
        return f"{value / 60:.1f}{_THIN}min"
    if value >= 0.1:
        return f"{value:.1f}{_THIN}s" if value >= 1 else f"{value:.2f}{_THIN}s"
    return f"{value * 1e3:.1f}{_THIN}ms"


def duration(microseconds: float | None) -> str:
    """A time of an event with its unit, with three significant digits."""
    if microseconds is None:
        return MISSING
    for unit, factor in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if abs(microseconds) >= 0.9995 * factor:
            scaled = microseconds / factor
            digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
            return f"{scaled:,.{digits}f}{_THIN}{unit}"
    return f"{microseconds * 1e3:.0f}{_THIN}ns"


def duration_difference(microseconds: float | None) -> str:
    """A difference of times with its sign and unit."""
    if microseconds is None:
        return MISSING
    sign = "+" if microseconds > 0 else _MINUS if microseconds < 0 else ""
    return sign + duration(abs(microseconds))


def comparison(*, several: bool) -> str:
    """What the intervals of compared traces are of."""
    if several:
        return (
            "Intervals hold at 95 % for all stages together; they are of whole runs, and of what "
            "differs from process to process."
        )
    return (
        "Intervals hold at 95 % for all stages together, within these two runs. Processes differ "
        "by themselves, short kernels by a quarter and more: three and more traces of each tell "
        "that apart."
    )


def size(value: float | None) -> str:
    """A number of bytes, in decimal kB, MB or GB."""
    if value is None:
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            scaled = value / factor
            return f"{scaled:.0f}{_THIN}{unit}" if scaled >= 100 else f"{scaled:.1f}{_THIN}{unit}"
    return f"{value:.0f}{_THIN}B"


def rate(value: float) -> str:
    """Examples per second."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def decibels(value: float | None) -> str:
    """A ratio in decibels, to a tenth."""
    return MISSING if value is None else f"{value:.1f}"


def budget(facts: BudgetFacts) -> str:
    """In a sentence how an accuracy budget was held."""
    kept = len(facts.kept_in_float)
    layers = "no layer" if kept == 0 else "1 layer" if kept == 1 else f"{kept} layers"
    values = ", ".join(
        f"{name} {value:.2f}{facts.unit}"
        for name, value in (
            ("float", facts.reference),
            ("all in integers", facts.quantized),
            ("compiled", facts.result),
        )
    )
    told = (
        f"Accuracy budget of {facts.budget:g}: {layers} in float; {facts.metric} on "
        f"{facts.examples:,} examples: {values}; tried: {', '.join(facts.tried)} in float"
    )
    if facts.judgement is not None:
        told += f"; {facts.judgement}"
    if facts.finer is not None:
        told += f"; decided by the {facts.finer.metric}: {facts.finer.loss:+.2f}"
    return told


def cpu(usage: UsageFigures | None) -> str:
    """How much of the CPUs a variant took; 100 % is one of them."""
    return MISSING if usage is None else percent(usage.cpu_percent)


def gpu(usage: UsageFigures | None) -> str:
    """How busy the GPU was."""
    return MISSING if usage is None else percent(usage.gpu_percent)


def power(usage: UsageFigures | None) -> str:
    """Mean power in watts."""
    if usage is None or usage.watts is None:
        return MISSING
    return f"{three_digits(usage.watts)}{_THIN}W"


def energy(usage: UsageFigures | None) -> str:
    """Energy per inference; nothing where it is not known."""
    if usage is None or usage.joules_per_inference is None:
        return ""
    return f"{three_digits(usage.joules_per_inference * 1e3)}{_THIN}mJ each"


def not_available(report: ReportContents) -> list[str]:
    """Why figures of usage are missing, each reason once."""
    names = {"gpu_percent": "GPU", "watts": "Power"}
    return [
        f"{name} is not available: {reason}."
        for figure, name in names.items()
        for reason in sorted(
            {
                variant.usage.unavailable[figure]
                for variant in report.variants
                if variant.usage is not None and figure in variant.usage.unavailable
            }
        )
    ]


def times(value: float | None) -> str:
    """A ratio, such as 1.24×."""  # noqa: RUF002
    if value is None:
        return MISSING
    if value >= 10:
        return f"{value:,.1f}{_TIMES}"
    return f"{value:.2f}{_TIMES}" if value >= 0.1 else f"{value:.3g}{_TIMES}"


def times_interval(figure: Figure | None) -> str:
    """The interval of a ratio."""
    return "" if figure is None else f"{times(figure.low)} to {times(figure.high)}"


def difference(value: float) -> str:
    """A difference with its sign."""
    return signed(value).replace("-", _MINUS)


def difference_interval(figure: Figure) -> str:
    """The interval of a difference."""
    return f"{difference(figure.low)} to {difference(figure.high)}"


def metric_value(metric: MetricFigures) -> str:
    """A metric's value with its unit."""
    return with_unit(metric.value.value, metric.unit).replace(" ", _THIN)


def version(text: str) -> str:
    """A version without the builder's suffix."""
    return text.split("-")[0]


def agreement(variant: VariantReport | NpuVariant) -> str:
    """How near the outputs are to the reference's."""
    found = variant.agreement
    if found is None:
        return "reference"
    if found.blank_output is not None:
        return f"not compared: {found.blank_output} has no finite number"
    if found.exact:
        return "equal bit by bit"
    if found.max_abs_error is None:
        return "no finite numbers"
    noise = "" if found.sqnr_db is None else f", {found.sqnr_db:.0f}{_THIN}dB"
    return f"±{found.max_abs_error:.1e}{noise}"
