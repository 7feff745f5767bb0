"""Vision networks compile with fixed and open sizes, and agree with ONNX Runtime at several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import ingot
from benchmarks.networks.classifiers import Classifier
from benchmarks.networks.detector import Detector
from benchmarks.networks.mobile import BLOCKS, MobileNetV3
from benchmarks.networks.superresolution import SuperResolution
from benchmarks.networks.transformers import MobileVit, SegFormer, Swin, VisionTransformer
from benchmarks.networks.unet import UNet
from benchmarks.networks.video import Video
from ingot.reference.session import Reference

# Of the largest magnitude of the outputs.
ROUNDING = 1e-4

SMALL_WIDTHS: dict[str, Any] = {
    "classes": 5,
    "batch": "batch",
    "widths": (16, 32),
    "depths": (1, 2),
}
OPEN: dict[str, Any] = {"batch": "batch", "height": "height", "width": "width"}

# Small networks, and the shapes of their input to try; open where the network allows it.
SMALL: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "unet": (UNet(channels=4, levels=2, **OPEN), [(2, 3, 16, 16), (1, 3, 24, 20)]),
    "unet by resize": (
        UNet("resize", channels=4, levels=2, **OPEN),
        [(2, 3, 16, 16), (1, 3, 24, 20)],
    ),
    "detector": (Detector(channels=4, classes=3, **OPEN), [(2, 3, 64, 64), (1, 3, 32, 96)]),
    "superresolution": (
        SuperResolution(channels=8, scale=2, **OPEN),
        [(2, 1, 12, 12), (1, 1, 9, 14)],
    ),
    "convnext": (Classifier("convnext", height=32, width=32, **SMALL_WIDTHS), [(2, 3, 32, 32)]),
    "mobilenet_v3": (
        MobileNetV3(
            BLOCKS[:6], last=48, hidden=64, classes=5, batch="batch", height=32, width=32
        ),
        [(2, 3, 32, 32), (1, 3, 32, 32)],
    ),
    "regnet": (
        Classifier("regnet", group=8, height=32, width=32, **SMALL_WIDTHS),
        [(2, 3, 32, 32)],
    ),
    "shufflenet_v2": (
        Classifier("shufflenet_v2", height=32, width=32, **SMALL_WIDTHS),
        [(2, 3, 32, 32), (1, 3, 32, 32)],
    ),
    "densenet": (
        Classifier("densenet", group=8, height=32, width=32, **SMALL_WIDTHS),
        [(2, 3, 32, 32)],
    ),
    "video": (
        Video(widths=(8, 16), depth=1, classes=5, batch="batch", frames=4, height=16, width=16),
        [(2, 3, 4, 16, 16)],
    ),
    "vit": (
        VisionTransformer(features=32, layers=1, heads=2, size=32, classes=5, batch="batch"),
        [(2, 3, 32, 32), (3, 3, 32, 32)],
    ),
    "swin": (
        Swin(features=16, depths=(2, 2), heads=2, window=4, size=32, classes=5, batch="batch"),
        [(2, 3, 32, 32), (1, 3, 32, 32)],
    ),
    "mobilevit": (
        MobileVit(
            widths=(8, 8, 16, 16), features=24, layers=1, heads=2, size=64, classes=5,
            batch="batch",
        ),
        [(2, 3, 64, 64)],
    ),
    "segformer": (
        SegFormer(
            widths=(8, 16, 16, 32), heads=(1, 2, 2, 4), depth=1, decoder=16, classes=5,
            batch="batch", height=64, width=64,
        ),
        [(2, 3, 64, 64)],
    ),
}  # fmt: skip


def agree(model: onnx.ModelProto, folder: Path, shapes: list[tuple[int, ...]]) -> None:
    """Compiles a model, by no region, and compares it at several shapes."""
    artifact = ingot.compile(model, folder / "network.ingot", fallback=False)
    reference = Reference(model)
    (name,) = (value.name for value in model.graph.input)
    with artifact.session(threads=1) as session:
        for seed, shape in enumerate(shapes):
            image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
            expected = reference.run({name: image})
            for output, actual in session.run({name: image}).items():
                wanted = expected[output]
                assert actual.shape == wanted.shape
                bound = ROUNDING * float(np.abs(wanted).max())
                np.testing.assert_allclose(actual, wanted, rtol=0, atol=bound)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_network(name: str, tmp_path: Path) -> None:
    network, shapes = SMALL[name]
    agree(network.build(), tmp_path, shapes)


@pytest.mark.slow
def test_detector_with_fixed_sizes(tmp_path: Path) -> None:
    network = Detector(channels=4, classes=3, batch=1, height=64, width=64)
    agree(network.build(), tmp_path, [(1, 3, 64, 64)])


def test_transposed_unet_with_fixed_sizes(tmp_path: Path) -> None:
    network = UNet(channels=4, levels=1, batch=1, height=8, width=8)
    agree(network.build(), tmp_path, [(1, 3, 8, 8)])
