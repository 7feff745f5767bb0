"""Rounding of weights that looks at the layer's inputs: less error in the output, not the weights.

Column by column, what rounding a weight changes in the output is made good by the weights that are
still to be rounded (Frantar and Alistarh, "Optimal Brain Compression", 2022; Frantar et al., "GPTQ:
Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2023). All groups of
a grouped convolution are rounded side by side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.linalg

from ingot.passes.quantization.headroom import Budget

Wide = npt.NDArray[np.float64]

_BLOCK = 64


def round_columns(
    weights: Wide,
    scales: Wide,
    hessian: Wide,
    *,
    limit: int = 127,
    damping: float = 0.01,
    budget: Budget | None = None,
) -> npt.NDArray[np.int8]:
    """Rounds weights so that the output changes little.

    Args:
        weights: [groups, channels, inputs].
        scales: [groups, channels].
        hessian: Second moments of the inputs, [groups, inputs, inputs].
        limit: The largest integer.
        damping: Part of the moments' mean diagonal that is added to it.
        budget: What sums of integers have to heed, if they have to.

    Returns:
        Integers [groups, channels, inputs].
    """
    # The inputs that matter most are rounded first, while there are others to make it good.
    order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2), axis=1, kind="stable")
    sorted_rows = np.take_along_axis(hessian, order[:, :, None], axis=1)
    factor = inverse_factor(np.take_along_axis(sorted_rows, order[:, None, :], axis=2), damping)
    left = np.take_along_axis(weights, order[:, None, :], axis=2)
    rounded = np.empty_like(left)
    zero = left == 0.0  # what was pruned stays so
    inputs = left.shape[2]
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        errors = np.empty((*left.shape[:2], stop - start))
        for column in range(start, stop):
            integers = np.clip(np.rint(left[:, :, column] / scales), -limit, limit)
            integers[zero[:, :, column]] = 0
            if budget is not None:
                integers = budget.spend(order[:, column], integers)
            rounded[:, :, column] = integers
            error = left[:, :, column] - integers * scales
            error /= factor[:, column, column, None]
            rest = factor[:, None, column, column + 1 : stop]
            left[:, :, column + 1 : stop] -= error[:, :, None] * rest
            errors[:, :, column - start] = error
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    result = np.empty_like(rounded)
    np.put_along_axis(result, np.broadcast_to(order[:, None, :], result.shape), rounded, axis=2)
    return result.astype(np.int8)


def damped(hessian: Wide, damping: float) -> Wide:
    """Second moments with a part of their mean diagonal added, so that they can be inverted.

    Args:
        hessian: [groups, inputs, inputs].
        damping: The part.
    """
    means = np.diagonal(hessian, axis1=1, axis2=2).mean(axis=1)
    floor = damping * means + np.where(means > 0.0, 1e-9 * means, 1.0)
    result: Wide = hessian.copy()
    diagonal = np.arange(hessian.shape[1])
    result[:, diagonal, diagonal] += floor[:, None]
    return result


def without_chance(covariance: Wide, reliable: Wide) -> Wide:
    """A covariance whose correlations are shrunk to what is expected of further samples.

    Args:
        covariance: [groups, inputs, inputs].
        reliable: The part of the correlations that stays, [groups].
    """
    result = covariance * reliable[:, None, None]
    diagonal = np.arange(covariance.shape[1])
    result[:, diagonal, diagonal] = covariance[:, diagonal, diagonal]
    return result


def inverse_factor(hessian: Wide, damping: float) -> Wide:
    """The upper Cholesky factors U of the damped moments' inverses, H⁻¹ = Uᵀ U.

    With rows and columns in reverse order H is a lower triangle times its transpose; put back in
    order, an upper triangle times its own: H = R Rᵀ, and U = R⁻¹. That takes a quarter of the
    operations of inverting H first.
    """
    factors = np.empty_like(hessian)
    for group, matrix in enumerate(damped(hessian, damping)):
        lower = _cholesky(matrix[::-1, ::-1])
        factors[group], _ = scipy.linalg.lapack.dtrtri(lower[::-1, ::-1], lower=0)
    return factors


def _cholesky(matrix: Wide) -> Wide:
    """The lower factor of moments; of what rounding made indefinite, that of their diagonal.

    Then there is nothing to learn from correlations, and weights are rounded to nearest.
    """
    try:
        return np.asarray(scipy.linalg.cholesky(matrix, lower=True, check_finite=False))
    except scipy.linalg.LinAlgError:
        diagonal = np.diagonal(matrix)
        return np.diag(np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0)))
