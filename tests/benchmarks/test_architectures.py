"""Current architectures in small: each compiles with fixed and with open sizes, and is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.networks.catalog import NETWORKS, Network
from ingot.compiler.build import compile_model


@pytest.mark.slow
@pytest.mark.parametrize("open_sizes", [False, True], ids=["fixed", "open"])
@pytest.mark.parametrize("network", NETWORKS, ids=[network.name for network in NETWORKS])
def test_a_network_compiles_and_agrees_with_onnx_runtime(
    network: Network, open_sizes: bool, tmp_path: Path
) -> None:
    model = network.model(open_sizes=open_sizes, small=True)
    artifact = compile_model(model, tmp_path / "network.ingot")
    assert artifact.manifest.measured["verification"]["ran"]
    assert artifact.manifest.placement["cpu"]["nodes"]
