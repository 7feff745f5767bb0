"""Serves this machine's float32 peak: an inference is a burst of multiply-adds in registers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingot.report.workers.protocol import Array
from ingot.report.workers.serving import serve

if TYPE_CHECKING:
    from ingot.targets.cpu.probe import Burst


class ProbeEngine:
    """A burst of known work; its time gives the peak of the moment, between those of variants."""

    def __init__(self, path: Path, threads: int) -> None:
        """Compiles the loop; the path of the variant that it stands beside is not read."""
        del path
        self._burst = self.make_burst(threads)
        self.inputs: list[tuple[str, str, list[int | str]]] = []
        self.outputs: list[str] = []
        self.facts: dict[str, Any] = {"engine": "probe", "operations": self._burst.work}

    @staticmethod
    def make_burst(threads: int) -> Burst:
        """The burst, of float32."""
        from ingot.targets.cpu.probe import Probe

        return Probe().multiply_adds(threads)

    def run(self, inputs: dict[str, Array]) -> Mapping[str, Array]:
        """Runs one burst."""
        del inputs
        self._burst()
        return {}


def imports() -> None:
    """Imports the probe, and the compiler with it."""
    import ingot.targets.cpu.probe  # noqa: F401


if __name__ == "__main__":
    serve(imports, ProbeEngine)
