"""Serves this machine's bfloat16 peak: an inference is a burst of multiply-adds of bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingot.report.workers.probe import ProbeEngine, imports
from ingot.report.workers.serving import serve

if TYPE_CHECKING:
    from ingot.targets.cpu.probe import Burst


class Bfloat16ProbeEngine(ProbeEngine):
    """The same with bfloat16 instead of floats; with floats where no instruction multiplies it."""

    @staticmethod
    def make_burst(threads: int) -> Burst:
        """The burst, of bfloat16."""
        from ingot.targets.cpu.probe import Probe

        probe = Probe()
        if probe.has_bfloat16:
            return probe.bfloat16_multiply_adds(threads)
        return probe.multiply_adds(threads)


if __name__ == "__main__":
    serve(imports, Bfloat16ProbeEngine)
