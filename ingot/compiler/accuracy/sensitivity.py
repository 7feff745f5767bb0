"""Which layers lose what by quantization: each layer's effect on the outputs, and its own noise."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.cached import DamagedCacheError, read_entry, write_entry
from ingot.compiler.accuracy.layer_sensitivity import LayerSensitivity
from ingot.data.base import array_content
from ingot.errors import IngotError
from ingot.files import cache_dir
from ingot.passes.quantization.quantized_layer import quantized_layers
from ingot.passes.quantization.restoration import restore_float
from ingot.passes.storage import to_bytes
from ingot.progress import Progress, no_progress
from ingot.reference.session import Reference

Samples = Sequence[Mapping[str, Any]]

# What stands for a noise of nothing, in decibels.
NOISELESS_DB = 200.0
_LAYERS = pydantic.TypeAdapter(list[LayerSensitivity])


def layer_noise(model: ir.Model, float_model: ir.Model, samples: Samples) -> list[LayerSensitivity]:
    """The noise of each quantized layer's output, all layers being quantized.

    Args:
        model: The QDQ model.
        float_model: The model before it was quantized.
        samples: Real inputs, at least one.
    """
    layers = list(quantized_layers(model, float_model))
    names = [str(layer.node.outputs[0].name) for layer in layers]
    references = [Reference(one, expose=names) for one in (float_model, model)]
    sums = np.zeros((len(layers), 2))
    sizes = np.zeros(len(layers))
    for sample in samples:
        left, right = (reference.run(sample, names) for reference in references)
        for index, name in enumerate(names):
            sums[index] += _squares(left[name], right[name])
            sizes[index] += left[name].size
    return [
        LayerSensitivity(
            name=str(layer.node.name),
            operator=layer.node.op_type,
            layer_sqnr_db=decibels(*found),
            multiply_adds=int(size / len(samples)) * _inputs(layer.layer.array(), layer.layer),
        )
        for layer, found, size in zip(layers, sums, sizes, strict=True)
    ]


def measure_sensitivity(
    model: ir.Model,
    float_model: ir.Model,
    samples: Samples,
    *,
    progress: Progress = no_progress,
) -> list[LayerSensitivity]:
    """The noise of the outputs that each layer makes when it alone is quantized.

    What was measured is kept in the user's cache by the models and the samples.

    Args:
        model: The QDQ model.
        float_model: The model before it was quantized.
        samples: Real inputs, at least one.
        progress: Told of each layer.
    """
    entry = cache_dir() / "sensitivity" / f"{_digest((model, float_model), samples)}.json"
    with contextlib.suppress(DamagedCacheError):
        if (stored := read_entry(entry)) is not None:
            return _LAYERS.validate_json(stored)
    found = _measure(model, float_model, samples, progress)
    # Where the cache cannot be written it will be measured again.
    with contextlib.suppress(IngotError, OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_entry(entry, _LAYERS.dump_json(found))
    return found


def _measure(
    model: ir.Model, float_model: ir.Model, samples: Samples, progress: Progress
) -> list[LayerSensitivity]:
    found = layer_noise(model, float_model, samples)
    names = [layer.name for layer in found]
    reference = Reference(float_model)
    expected = [reference.run(sample) for sample in samples]
    result = []
    for index, layer in enumerate(found):
        others = [name for name in names if name != layer.name]
        alone = Reference(restore_float(model, float_model, others))
        total = np.zeros(2)
        for sample, outputs in zip(samples, expected, strict=True):
            actual = alone.run(sample)
            for name, array in outputs.items():
                if array.dtype.kind == "f":
                    total += _squares(array, actual[name])
        result.append(layer.model_copy(update={"output_sqnr_db": decibels(*total)}))
        progress("measuring the layers' sensitivity", index + 1, len(found))
    return result


def _digest(models: Sequence[ir.Model], samples: Samples) -> str:
    digest = hashlib.sha256()
    for model in models:
        digest.update(to_bytes(model))
    for sample in samples:
        for name, array in sorted(sample.items()):
            for part in array_content(name, np.asarray(array)):
                digest.update(part)
    return digest.hexdigest()


def decibels(signal: float, noise: float) -> float:
    """Signal over noise in decibels, both as power; at most ``NOISELESS_DB``."""
    if noise <= 0.0:
        return NOISELESS_DB
    return float(min(10.0 * np.log10(max(signal, 1e-300) / noise), NOISELESS_DB))


def _squares(expected: npt.NDArray[Any], actual: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    wide = expected.astype(np.float64)
    error = actual.astype(np.float64) - wide
    return np.array([float((wide**2).sum()), float((error**2).sum())])


def _inputs(weights: npt.NDArray[Any], layer: Any) -> int:
    """Multiply-adds per element of the output."""
    return int(weights.size // weights.shape[layer.channel_axis])
