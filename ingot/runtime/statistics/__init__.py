"""Figures of a running session: counts, latency, throughput, memory, CPU, GPU, power, and yours."""

from ingot.runtime.statistics.exposition import (
    OPENMETRICS_CONTENT_TYPE,
    PROMETHEUS_CONTENT_TYPE,
    to_openmetrics,
    to_prometheus,
)
from ingot.runtime.statistics.figures import (
    ArenaMemory,
    Cpu,
    DurationHistogram,
    Gpu,
    Latency,
    Memory,
    MemoryPhases,
    Power,
    Statistics,
    Unavailable,
)
from ingot.runtime.statistics.metrics import Counter, Gauge, Histogram, MetricRegistry
from ingot.runtime.statistics.monitor import Monitor

__all__ = [
    "OPENMETRICS_CONTENT_TYPE",
    "PROMETHEUS_CONTENT_TYPE",
    "ArenaMemory",
    "Counter",
    "Cpu",
    "DurationHistogram",
    "Gauge",
    "Gpu",
    "Histogram",
    "Latency",
    "Memory",
    "MemoryPhases",
    "MetricRegistry",
    "Monitor",
    "Power",
    "Statistics",
    "Unavailable",
    "to_openmetrics",
    "to_prometheus",
]
