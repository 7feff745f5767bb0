"""The figures of sessions as OpenTelemetry's observable instruments (extra ``telemetry``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ingot.errors import IngotError
from ingot.runtime.statistics.families import families
from ingot.runtime.statistics.figures import Statistics
from ingot.runtime.statistics.metrics import Family

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

# A collection asks every instrument in turn; the figures are read once for all of them.
_FRESH_SECONDS = 0.5
# The unit codes of UCUM, which OpenTelemetry asks for.
_UNITS = {"seconds": "s", "bytes": "By", "joules": "J", "watts": "W"}


def export(
    read: Callable[[], Sequence[Statistics]], *, provider: MeterProvider | None = None
) -> None:
    """Registers the figures with OpenTelemetry, which asks for them when it collects.

    A histogram, which cannot be observed, becomes the counters of its count and its sum. Metrics of
    the application's own are exported if they are registered before.

    Args:
        read: Returns the figures of each session, such as ``lambda: [session.stats()]``.
        provider: Where to register; by default the process's own.

    Raises:
        IngotError: OpenTelemetry is not installed.
        UsageError: Two sessions have the same model's name.
    """
    try:
        from opentelemetry import metrics
    except ModuleNotFoundError as error:
        raise IngotError(
            "OpenTelemetry is not installed: pip install 'ingot[telemetry]'"
        ) from error
    meter = metrics.get_meter("ingot", meter_provider=provider)
    source = _Source(read)
    for family in source.families().values():
        if family.kind == "histogram":
            for suffix in ("_count", "_sum"):
                unit = family.unit if suffix == "_sum" else ""
                _observe(meter.create_observable_counter, source, family, suffix, unit)
        elif family.kind == "counter":
            _observe(meter.create_observable_counter, source, family, "_total", family.unit)
        else:
            _observe(meter.create_observable_gauge, source, family, "", family.unit)


class _Source:
    """The families, read anew for each collection."""

    def __init__(self, read: Callable[[], Sequence[Statistics]]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._families: dict[str, Family] = {}
        self._read_at = -_FRESH_SECONDS

    def families(self) -> dict[str, Family]:
        """By name."""
        with self._lock:
            now = time.monotonic()
            if not self._families or now - self._read_at >= _FRESH_SECONDS:
                self._families = {family.name: family for family in families(self._read())}
                self._read_at = now
            return self._families


def _observe(
    create: Callable[..., Any], source: _Source, family: Family, suffix: str, unit: str
) -> None:
    from opentelemetry.metrics import Observation

    def observations(options: CallbackOptions) -> Iterable[Observation]:
        del options
        found = source.families().get(family.name)
        for sample in found.samples if found is not None else ():
            if sample.suffix == suffix:
                yield Observation(sample.value, dict(sample.labels))

    # A counter is one by its kind; only the parts of a histogram need their suffix.
    name = family.name + (suffix if family.kind == "histogram" else "")
    create(
        name, callbacks=[observations], unit=_UNITS.get(unit, unit) or "1", description=family.help
    )
