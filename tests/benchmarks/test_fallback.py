"""The models of the benchmark of fallback have no code at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fallback import NETWORKS
from ingot.compiler.build import compile_model
from ingot.runtime.manifest import CODE_MEMBER


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_runs_it_whole(name: str, tmp_path: Path) -> None:
    artifact = compile_model(NETWORKS[name](), tmp_path / "m.ingot")
    assert CODE_MEMBER not in artifact.manifest.members
    assert artifact.manifest.measured["verification"]["ran"]
