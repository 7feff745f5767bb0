"""Serves this machine's int8 peak: an inference is a burst of multiply-adds of 8-bit integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingot.report.workers.probe import ProbeEngine, imports
from ingot.report.workers.serving import serve

if TYPE_CHECKING:
    from ingot.targets.cpu.probe import Burst


class IntegerProbeEngine(ProbeEngine):
    """The same with 8-bit integers instead of floats."""

    @staticmethod
    def make_burst(threads: int) -> Burst:
        """The burst, of 8-bit integers."""
        from ingot.targets.cpu.probe import Probe

        return Probe().integer_multiply_adds(threads)


if __name__ == "__main__":
    serve(imports, IntegerProbeEngine)
