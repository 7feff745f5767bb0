"""Serves this machine's peak: an inference is a burst of multiply-adds in registers alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingot.report.workers.protocol import Array
from ingot.report.workers.serving import serve


class ProbeEngine:
    """A burst of known work; its time gives the peak of the moment, between those of variants."""

    def __init__(self, path: Path, threads: int) -> None:
        """Compiles the loop; the path of the variant that it stands beside is not read."""
        from ingot.targets.cpu.probe import Probe

        del path
        self._burst = Probe().multiply_adds(threads)
        self.inputs: list[tuple[str, str, list[int | str]]] = []
        self.outputs: list[str] = []
        self.facts: dict[str, Any] = {"engine": "probe", "operations": self._burst.work}

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
