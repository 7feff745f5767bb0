"""From products to scores, and from sums of weights to results: shared by all attention kernels."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx

from ingot.targets.cpu.kernels.attention.access import Access
from ingot.targets.cpu.kernels.attention.problem import Attention, WithoutKeys
from ingot.targets.cpu.kernels.writing.emission import splat

LOWEST = -3.4028234663852886e38
"""The lowest finite float32, which masks give for what is not seen."""

MINUS_INFINITY = float("-inf")
_LARGEST = -LOWEST


class Adjustment:
    """What makes scores of products: the soft cap and the mask."""

    def __init__(self, access: Access) -> None:
        """Takes the operands."""
        self.problem = access.problem

    @property
    def scale(self) -> float:
        """What queries are multiplied with; that of the cap is taken out at once."""
        return self.problem.scale / (self.problem.cap or 1.0)

    def adjusted(self, product: tirx.Expr, lanes: int, mask: Callable[[], tirx.Expr]) -> tirx.Expr:
        """Returns scores, all but the causal mask.

        Args:
            product: Products of scaled queries and keys.
            lanes: How many.
            mask: Reads their mask; called if there is one.
        """
        problem, score = self.problem, product
        if problem.cap:
            score = tirx.tanh(product) * splat(problem.cap, lanes)
        if problem.mask is None:
            return score
        added = mask()
        if problem.mask.replaces:
            return tirx.Select(added == splat(0.0, lanes), score, added)
        # Behind the products: in front of them a large number would round each one.
        return score + added


def inverse_sum(problem: Attention, peak: tirx.Expr, total: tirx.Expr, lanes: int) -> tirx.Expr:
    """Returns what rows' results are multiplied with.

    Args:
        problem: The problem, which says what a row without keys is.
        peak: The largest score of each row.
        total: The sum of each row's weights.
        lanes: Number of rows.
    """
    zero, inverse = splat(0.0, lanes), splat(1.0, lanes) / total
    if problem.without_keys is WithoutKeys.ZERO:
        # A sum that is no number stays none.
        empty = tirx.Select(total <= splat(_LARGEST, lanes), zero, total)
        return tirx.Select(peak <= splat(LOWEST, lanes), empty, inverse)
    if problem.without_keys is WithoutKeys.ZERO_FOR_NOT_A_NUMBER:
        return tirx.Select(total > zero, inverse, zero)
    return inverse


def scaled_result(problem: Attention, sums: tirx.Expr, inverse: tirx.Expr, lanes: int) -> tirx.Expr:
    """Returns features of a result: the weighted sum of values over the sum of weights."""
    scaled = sums * inverse
    if problem.without_keys is not WithoutKeys.ZERO_FOR_NOT_A_NUMBER:
        return scaled
    zero = splat(0.0, lanes)
    return tirx.Select(inverse > zero, scaled, zero)
