"""Packing weights as the kernels read them: in panels of whole vectors of columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ingot.targets.cpu.kernels.tiling.tiles import Panels

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
