"""The text formats that monitoring reads: Prometheus 0.0.4 and OpenMetrics 1.0.0.

<https://prometheus.io/docs/instrumenting/exposition_formats/> and
<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ingot.runtime.statistics.families import families
from ingot.runtime.statistics.figures import Statistics
from ingot.runtime.statistics.metrics import Family, Sample

PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# Beyond it a float does not hold every integer.
_LARGEST_INTEGER = 2.0**53


def to_prometheus(sessions: Sequence[Statistics]) -> str:
    """The figures of one or more sessions as one page of Prometheus' text format.

    Args:
        sessions: Of this process; each needs a model's name of its own.

    Raises:
        UsageError: Two have the same model's name, or register one metric differently.
    """
    return prometheus_page(families(sessions))


def prometheus_page(shown: Iterable[Family]) -> str:
    """Metrics as a page of Prometheus' text format."""
    lines: list[str] = []
    for family in shown:
        # In this format it is the samples' name that has a help and a type.
        name = family.name + "_total" if family.kind == "counter" else family.name
        help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {family.kind}"]
        lines += _samples(family)
    return _text(lines)


def to_openmetrics(sessions: Sequence[Statistics]) -> str:
    """The figures of one or more sessions as one page of OpenMetrics.

    Args:
        sessions: Of this process; each needs a model's name of its own.

    Raises:
        UsageError: Two have the same model's name, or register one metric differently.
    """
    return openmetrics_page(families(sessions))


def openmetrics_page(shown: Iterable[Family]) -> str:
    """Metrics as a page of OpenMetrics."""
    lines: list[str] = []
    for family in shown:
        lines.append(f"# TYPE {family.name} {family.kind}")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines += _samples(family)
    return _text([*lines, "# EOF"])


def _samples(family: Family) -> Iterable[str]:
    return (_line(family.name, sample) for sample in family.samples)


def _line(name: str, sample: Sample) -> str:
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels)
    labels = f"{{{pairs}}}" if pairs else ""
    return f"{name}{sample.suffix}{labels} {_number(sample.value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < _LARGEST_INTEGER:
        return str(int(value))
    return repr(float(value))


def _text(lines: Iterable[str]) -> str:
    return "".join(line + "\n" for line in lines)
