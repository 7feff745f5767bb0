"""Packing weights as the kernels read them: in panels of whole vectors of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.targets.cpu.kernels.tiling.tiles import Panels
from ingot.targets.cpu.kernels.writing.emission import index

Floats = npt.NDArray[np.float32]


def pack_panels(weights: Floats, panels: Panels) -> Floats:
    """Packs weights whose last axis is the result's columns.

    Args:
        weights: [..., columns].
        panels: The panels.

    Returns:
        [panel, ..., panel width], columns beyond the last are zero.
    """
    missing = panels.count * panels.width - panels.columns
    padded = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, missing)])
    split = padded.reshape(*weights.shape[:-1], panels.count, panels.width)
    return np.ascontiguousarray(np.moveaxis(split, -2, 0))


def pack_groups(weights: Floats, groups: int, panels: Panels) -> Floats:
    """Packs weights whose last axis is the columns of one group after the other.

    Args:
        weights: [..., columns].
        groups: Number of groups.
        panels: The panels of a group's columns.

    Returns:
        [group and panel, ..., panel width], columns beyond a group's last are zero.
    """
    parts = np.split(weights, groups, axis=-1)
    return np.concatenate([pack_panels(part, panels) for part in parts])


def place_in_panels(panels: Panels, groups: int, column: Any) -> tuple[Any, Any]:
    """Returns which of the panels that ``pack_groups`` made has a column, and where."""
    width, group = index(panels.width), index(0)
    if groups > 1:
        group, column = column // index(panels.columns), column % index(panels.columns)
    return group * index(panels.count) + column // width, column % width
