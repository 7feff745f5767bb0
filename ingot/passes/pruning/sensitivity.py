"""How far the outputs of a model move when a group of channels is pruned a little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.passes.pruning.harm import Probe
from ingot.passes.pruning.selection import Group
from ingot.progress import Progress, no_progress
from ingot.reference.session import Reference

Array = npt.NDArray[Any]


def scale_by_sensitivity(
    model: ir.Model,
    probes: Sequence[Probe],
    batches: Sequence[Mapping[str, Array]],
    progress: Progress = no_progress,
) -> list[float]:
    """Makes harm to layers harm to outputs: each group's importance is scaled by what is measured.

    A first step of each group alone is taken, with the readers solved for; the model runs on the
    samples, and the squared error of its outputs, relative to their variance, stands beside the
    part of the readers' variance that the step loses.

    Returns:
        The relative squared error of the outputs by the first step of each group.
    """
    expected = _outputs(model, batches)
    errors = []
    for number, probe in enumerate(probes, start=1):
        progress("measuring what groups of channels do", number, len(probes))
        error = _relative_error(expected, _outputs(_stepped(model, probe), batches))
        errors.append(error)
        if probe.harm > 0:
            scale = error / probe.harm
            probe.group.importance = [scale * one for one in probe.group.importance]
    return errors


def _stepped(model: ir.Model, probe: Probe) -> ir.Model:
    changed = model.clone()
    nodes = {node.name: node for node in changed.graph}
    for layer, weights in probe.weights:
        value = nodes[layer.node.name].inputs[1]
        assert value is not None
        value.const_value = ir.tensor(weights.astype(np.float32), name=value.name)
    for layer, shift in probe.shifts:
        bias = layer.constant_bias()
        value = (*nodes[layer.node.name].inputs, None, None, None)[2]
        if bias is not None and value is not None:
            value.const_value = ir.tensor((bias + shift).astype(np.float32), name=value.name)
            value.shape = ir.Shape(shift.shape)
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


def _relative_error(expected: list[list[Array]], found: list[list[Array]]) -> float:
    errors = []
    for wanted, got in zip(expected, found, strict=True):
        pairs = list(zip(wanted, got, strict=True))
        squares = sum(float(np.square(g - w, dtype=np.float64).sum()) for w, g in pairs)
        whole = np.concatenate([w.reshape(-1) for w, _ in pairs]).astype(np.float64)
        variance = float(np.square(whole - whole.mean()).sum())
        errors.append(squares / variance if variance > 0 else 0.0)
    return float(np.mean(errors)) if errors else 0.0


def sensitivity_rows(groups: Sequence[Group], taken: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each group: what it is, how many of its channels went, and its harm."""
    rows = []
    for group, count in zip(groups, taken, strict=True):
        rows.append(
            {
                "tensors": sorted({str(value.name) for value, _ in group.axes}),
                "channels": len(group.channels),
                "removed": count,
                "harm": float(sum(group.importance[:count])),
            }
        )
    return rows
