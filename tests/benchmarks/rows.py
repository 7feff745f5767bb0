"""Rows of a benchmark of latency."""

from __future__ import annotations

from ingot.report.bench import BenchRow
from ingot.report.schema import Latency

LATENCY = Latency(
    median={"value": 1, "low": 1, "high": 1},
    p95=None,
    p99=None,
    runs=2,
    rounds=((1.0,), (1.0,)),
    warm_up_runs=10,
    stable=True,
)


def row(ratio: float | None, *, threads: int = 1, batch: int = 1) -> BenchRow:
    return BenchRow(
        model="net",
        precision="fp32",
        threads=threads,
        batch=batch,
        ingot_ms=1.0,
        peers={},
        ratio=ratio,
        ratio_low=ratio,
        ratio_high=ratio,
        percent_of_roofline=50.0,
        peak_gops=100.0,
        compile_s=1.0,
        artifact_mb=1.0,
        peak_rss_mb=1.0,
        peer_peak_rss_mb=None,
        peers_peak_rss_mb={},
        latency={"ingot": LATENCY},
    )
