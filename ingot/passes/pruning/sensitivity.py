"""How far the outputs of a model move when channels go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.passes.pruning.harm import Step
from ingot.passes.quantization.linear import linear_layer
from ingot.reference.session import Reference

Array = npt.NDArray[Any]


class OutputError:
    """Measures the error of a model's floating outputs, relative to their variance.

    Args:
        model: The model; not changed.
        batches: Complete inputs. Those that weights are solved for on would flatter what many
            weights learned from few samples.
    """

    def __init__(self, model: ir.Model, batches: Sequence[Mapping[str, Array]]) -> None:
        self._model = model
        self._batches = batches
        self._expected = _outputs(model, batches)

    def __call__(self, step: Step) -> float:
        """The mean over outputs of the squared error relative to the variance."""
        return relative_error(self._expected, _outputs(_stepped(self._model, step), self._batches))


def _stepped(model: ir.Model, step: Step) -> ir.Model:
    changed = model.clone()
    for node in changed.graph:
        name = str(node.name)
        layer = linear_layer(node) if name in step.weights else None
        if layer is None:
            continue
        layer.weights.const_value = ir.tensor(
            step.weights[name].astype(np.float32), name=layer.weights.name
        )
        bias = layer.constant_bias()
        if layer.bias is not None and bias is not None:
            moved = (bias + step.shifts[name]).astype(np.float32)
            layer.bias.const_value = ir.tensor(moved, name=layer.bias.name)
            layer.bias.shape = ir.Shape(moved.shape)
    return changed


def _outputs(model: ir.Model, batches: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
    """Each floating output, on each batch."""
    reference = Reference(model)
    found: dict[str, list[Array]] = {}
    for batch in batches:
        for name, array in reference.run(dict(batch)).items():
            if np.issubdtype(array.dtype, np.floating):
                found.setdefault(name, []).append(array)
    return list(found.values())


def relative_error(expected: Sequence[Sequence[Array]], found: Sequence[Sequence[Array]]) -> float:
    """The mean over outputs of the squared error relative to the variance; both by batch."""
    errors = []
    for wanted, got in zip(expected, found, strict=True):
        pairs = zip(wanted, got, strict=True)
        squares = sum(float(np.square(g - w, dtype=np.float64).sum()) for w, g in pairs)
        whole = np.concatenate([w.reshape(-1) for w in wanted]).astype(np.float64)
        variance = float(np.square(whole - whole.mean()).sum())
        errors.append(squares / variance if variance > 0 else 0.0)
    return float(np.mean(errors)) if errors else 0.0
