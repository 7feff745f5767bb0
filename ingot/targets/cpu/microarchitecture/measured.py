"""What ``ingot probe`` measured of this machine, kept in the cache folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from ingot.cached import DamagedCacheError, read_entry, write_entry
from ingot.errors import UsageError
from ingot.files import cache_dir
from ingot.targets.cpu.machine import CpuDescription

MEASURED = (
    "multiply_adds_per_cycle",
    "multiply_add_latency",
    "loads_per_cycle",
    "l2_bytes_per_cycle",
    "l3_bytes_per_cycle",
    "dram_bytes_per_cycle",
    "launch_cycles",
)
"""The fields of :class:`Microarchitecture` that are measured."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a machine's description is by measurement.

    Attributes:
        fields: The measured fields of :class:`Microarchitecture`, to three digits.
        gigahertz: The clock that they were measured at.
        threads: Threads that a launch woke, the caller included.
        when: Seconds since 1970.
    """

    fields: dict[str, float]
    gigahertz: float
    threads: int
    when: float


def store_measurement(cpu: CpuDescription, measurement: Measurement) -> Path:
    """Keeps what was measured; returns the file.

    Raises:
        IngotError: The cache folder cannot be written to.
    """
    path = _path(cpu)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_entry(path, json.dumps(dataclasses.asdict(measurement)).encode())
    return path


def stored_measurement(cpu: CpuDescription) -> Measurement | None:
    """Returns what was measured of this machine before; None if nothing, or if it is damaged."""
    try:
        content = read_entry(_path(cpu))
    except DamagedCacheError:
        return None
    return None if content is None else Measurement(**json.loads(content))


def measured_fields(cpu: CpuDescription) -> dict[str, float]:
    """Returns the measured fields of this machine's description.

    Raises:
        UsageError: Nothing was measured yet; says how to.
    """
    measurement = stored_measurement(cpu)
    if measurement is None:
        raise UsageError("this machine has not been measured: run `ingot probe` first")
    return measurement.fields


def three_digits(value: float) -> float:
    """Returns a measured number without the digits that are noise."""
    return float(f"{value:.3g}")


def _path(cpu: CpuDescription) -> Path:
    """The file for a processor, by its name, features and cores."""
    key = json.dumps([cpu.architecture, cpu.mcpu, cpu.features, cpu.cores])
    digest = hashlib.sha256(key.encode()).hexdigest()
    return cache_dir() / "processors" / f"{cpu.mcpu}-{digest[:32]}"
