"""An NPU that skips zeros takes fewer cycles for a model whose weights are pruned 2:4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_serializer", reason="the extra npu is not installed")

from ingot.compiler.build import compile_model
from ingot.report.npu import read_estimate
from tests.passes.pruning.networks import SIZE, Network


def convolutions() -> ir.Model:
    made = Network(4)
    last = made.conv("x", 64, kernel=3)
    for _ in range(2):
        last = made.conv(made.add("Relu", [last], 64), 64, kernel=3)
    return made.finish(last)


def test_cycles_fall_and_int8_keeps_the_zeros(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    samples = [{"x": random.normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)} for _ in range(32)]
    cycles: dict[str, int] = {}
    arithmetic: dict[str, dict[str, int]] = {}
    for name, prune in (("dense", None), ("sparse", "2:4")):
        artifact = compile_model(
            convolutions(),
            tmp_path / f"{name}.ingot",
            target="npu:ethos-u85-256",
            quantize="int8",
            calibration=samples,
            prune=prune,
            save_graph=tmp_path / f"{name}.onnx",
        )
        placement = artifact.manifest.placement["npu"]
        assert placement["share_of_macs"] == 1.0
        layers = read_estimate(artifact.path).layers
        arithmetic[name] = {layer.name: layer.npu_cycles for layer in layers}
        cycles[name] = placement["estimate"]["cycles"]
    dense, sparse = arithmetic["dense"], arithmetic["sparse"]
    halved = [name for name in dense if sparse[name] < 0.6 * dense[name]]
    assert len(halved) >= 2  # the convolutions of 64 channels; that of 3 stays as it is
    assert cycles["sparse"] < cycles["dense"]
    graph = ir.load(tmp_path / "sparse.onnx").graph
    kernels = [
        value.const_value.numpy()
        for value in graph.initializers.values()
        if value.shape == (64, 64, 3, 3) and value.const_value is not None
    ]
    assert len(kernels) == 2
    for kernel in kernels:
        assert kernel.dtype == np.int8
        runs = np.moveaxis(kernel, 1, -1).reshape(-1, 4)
        assert (np.count_nonzero(runs, axis=1) <= 2).all()
