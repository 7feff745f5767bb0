"""Models of a known architecture whose weights no package registry has: the user gives the file.

They are MLPerf Tiny's reference networks, whose checkpoints are part of the repository
https://github.com/mlcommons/tiny.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import onnx.helper
import onnx_ir as ir

from ingot.data.preprocessing import METADATA_KEY, ImagePreprocessing, Preprocessing
from ingot.errors import ModelError, UsageError
from ingot.files import replacing
from ingot.models.architectures import autoencoder, ds_cnn, resnet8, vww_mobilenet
from ingot.models.architectures.layers import Weights
from ingot.models.checkpoints.keras import read_keras_h5
from ingot.models.checkpoints.tflite import read_tflite

_READERS: dict[str, Callable[[bytes, str], dict[str, npt.NDArray[Any]]]] = {
    ".h5": read_keras_h5,
    ".tflite": read_tflite,
}


@dataclasses.dataclass(frozen=True)
class CheckpointModel:
    """A model that is exported from a checkpoint.

    Attributes:
        name: What users call it.
        summary: One line on what it is.
        licence: SPDX identifier of the published weights' licence.
        checkpoint: Name of the published file.
        build: Makes the network of its weights.
        preprocessing: How its publisher prepares images; None for a model of other inputs.
    """

    name: str
    summary: str
    licence: str
    checkpoint: str
    build: Callable[[Weights], ir.Model]
    preprocessing: Preprocessing | None = None


_MODELS = (
    CheckpointModel(
        name="resnet8",
        summary="ResNet-8 of MLPerf Tiny, CIFAR-10",
        licence="Apache-2.0",
        checkpoint="pretrainedResnet.h5",
        build=resnet8.build,
        preprocessing=ImagePreprocessing(height=32, width=32, scale=1.0),
    ),
    CheckpointModel(
        name="vww_mobilenet",
        summary="MobileNet 0.25 of MLPerf Tiny, visual wake words",
        licence="Apache-2.0",
        checkpoint="vww_96.h5",
        build=vww_mobilenet.build,
        preprocessing=ImagePreprocessing(height=96, width=96, resize_short_side=96),
    ),
    CheckpointModel(
        name="ds_cnn",
        summary="DS-CNN of MLPerf Tiny, keyword spotting",
        licence="Apache-2.0",
        checkpoint="kws_ref_model_float32.tflite",
        build=ds_cnn.build,
    ),
    CheckpointModel(
        name="autoencoder",
        summary="autoencoder of MLPerf Tiny, anomalies in machine sound",
        licence="Apache-2.0",
        checkpoint="ad01_fp32.tflite",
        build=autoencoder.build,
    ),
)

CHECKPOINT_MODELS: dict[str, CheckpointModel] = {model.name: model for model in _MODELS}
"""The models by name."""


def export_checkpoint(name: str, checkpoint: Path, output: Path) -> None:
    """Writes a model, with its metadata, as ``output`` (whole or not at all).

    Args:
        name: A name of ``CHECKPOINT_MODELS``.
        checkpoint: Its weights: Keras's ``.h5``, or a ``.tflite`` of float activations.
        output: The ONNX file to write; one that exists is replaced.

    Raises:
        UsageError: There is no such model, or the file is of another kind.
        ModelError: The file is missing, damaged or of another architecture.
        IngotError: A package that reads it is not installed, or the place cannot be written to.
    """
    if name not in CHECKPOINT_MODELS:
        known = ", ".join(CHECKPOINT_MODELS)
        raise UsageError(f"no model {name!r} is made of a checkpoint; those that are: {known}")
    model = CHECKPOINT_MODELS[name]
    read = _READERS.get(checkpoint.suffix)
    if read is None:
        known = " or ".join(_READERS)
        raise UsageError(f"the checkpoint {checkpoint} must end in {known}")
    try:
        data = checkpoint.read_bytes()
    except OSError as error:
        raise ModelError(f"the checkpoint {checkpoint} cannot be read: {error.strerror}") from error
    proto = ir.to_proto(model.build(read(data, checkpoint.name)))
    metadata = {
        "ingot.model": model.name,
        "ingot.summary": model.summary,
        "ingot.origin": f"{checkpoint.name} sha256:{hashlib.sha256(data).hexdigest()}",
        "ingot.licence": model.licence,
    }
    if model.preprocessing is not None:
        metadata[METADATA_KEY] = model.preprocessing.model_dump_json()
    onnx.helper.set_model_props(proto, metadata)
    with replacing(output) as temporary:
        onnx.save_model(proto, temporary)
