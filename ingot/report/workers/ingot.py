"""Serves an Ingot artifact: the thin runtime and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingot.report.workers.protocol import Array
from ingot.report.workers.serving import serve


class IngotEngine:
    """A session of the runtime."""

    def __init__(self, path: Path, threads: int) -> None:
        """Loads the artifact."""
        from ingot.runtime import Session

        self._session = Session(path, threads=threads)
        self.inputs = [(spec.name, spec.dtype, list(spec.shape)) for spec in self._session.inputs]
        self.outputs = [spec.name for spec in self._session.outputs]
        manifest = self._session.manifest
        self.facts: dict[str, Any] = {
            "engine": "Ingot",
            "version": manifest.tools.get("ingot", ""),
            "target": manifest.target.spec,
            "placement": dict(manifest.placement),
        }

    def run(self, inputs: dict[str, Array]) -> Mapping[str, Array]:
        """Runs one inference."""
        return self._session.run(inputs)


def imports() -> None:
    """Imports the runtime."""
    import ingot.runtime  # noqa: F401


if __name__ == "__main__":
    serve(imports, IngotEngine)
