"""Zeros in a layer's weights, with the weights that stay making up for those that go.

Column by column, as weights are rounded (Frantar and Alistarh, "SparseGPT: Massive Language Models
Can Be Accurately Pruned in One-Shot", ICML 2023): what a zero changes in the output is made good by
the columns still to come, and where zeros go is decided for a block of columns when it is reached,
by Optimal Brain Surgeon's w^2 / inv(H)_jj of the weights as they stand then.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from ingot.passes.quantization.rounding import inverse_factor

Wide = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Pattern:
    """Where zeros may lie: ``zeros`` of each ``length`` in a row; or a part of a whole block.

    Attributes:
        zeros: Zeros in each run of consecutive inputs of a row.
        length: The length of a run.
    """

    zeros: int
    length: int

    def mask(self, saliency: Wide) -> Mask:
        """Which of [rows, length] become zero: the least of each row."""
        order = np.argsort(saliency, axis=1, kind="stable")
        mask = np.zeros(saliency.shape, bool)
        np.put_along_axis(mask, order[:, : self.zeros], True, axis=1)
        return mask


@dataclasses.dataclass(frozen=True)
class Share:
    """Zeros anywhere: a part of each block of so many columns.

    Attributes:
        part: The part that becomes zero.
        length: Columns of a block.
    """

    part: float
    length: int = 128

    def mask(self, saliency: Wide) -> Mask:
        """Which of [rows, columns] become zero: the least of all."""
        count = int(self.part * saliency.size)
        mask = np.zeros(saliency.size, bool)
        mask[np.argsort(saliency, axis=None, kind="stable")[:count]] = True
        return mask.reshape(saliency.shape)


def sparse_columns(
    weights: Wide, hessian: Wide, pattern: Pattern | Share, damping: float = 0.01
) -> Wide:
    """Weights with zeros, for the least change of the output.

    Args:
        weights: [rows, inputs]; a run of a pattern begins at each multiple of its length.
        hessian: Second moments of the inputs, [inputs, inputs].
        pattern: Where zeros lie.
        damping: Part of the moments' mean diagonal that is added to it.

    Returns:
        [rows, inputs].
    """
    factor = inverse_factor(hessian[None], damping)[0]
    left, result = weights.copy(), np.empty_like(weights)
    inputs = weights.shape[1]
    for start in range(0, inputs, pattern.length):
        stop = min(start + pattern.length, inputs)
        saliency = np.square(left[:, start:stop] / np.diagonal(factor)[start:stop])
        zero = pattern.mask(saliency)
        errors = np.empty((len(weights), stop - start))
        for column in range(start, stop):
            kept = np.where(zero[:, column - start], 0.0, left[:, column])
            result[:, column] = kept
            error = (left[:, column] - kept) / factor[column, column]
            left[:, column + 1 : stop] -= error[:, None] * factor[column, column + 1 : stop]
            errors[:, column - start] = error
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    return result
