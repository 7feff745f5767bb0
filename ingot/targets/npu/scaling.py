"""Real factors as the integers that RESCALE multiplies and shifts by.

TOSA 1.0, operator RESCALE: ``(value * multiplier + (1 << (shift - 1))) >> shift``, with a
multiplier of 32 (``scale32``) or 16 bits and a shift from 2 to 62. The product is wide enough, and
the only rounding is one to nearest, ties upwards.
"""

from __future__ import annotations

import math

_MIN_SHIFT, _MAX_SHIFT = 2, 62


def multiplier_and_shift(factor: float, bits: int = 32) -> tuple[int, int]:
    """Returns the multiplier and shift that are nearest to a factor.

    The multiplier is normalized to its upper half of range, so that its relative error is at most
    ``2 ** -(bits - 1)``; only factors below ``2 ** -31`` get fewer bits.

    Args:
        factor: A positive finite number below ``2 ** (bits - 3)``.
        bits: Width of the multiplier, sign included: 32 or 16.

    Raises:
        ValueError: The factor is out of range.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"a factor of {factor} cannot be a scale")
    mantissa, exponent = math.frexp(factor)
    multiplier = round(mantissa * (1 << (bits - 1)))
    shift = bits - 1 - exponent
    if multiplier == 1 << (bits - 1):
        multiplier //= 2
        shift -= 1
    if shift > _MAX_SHIFT:
        excess = shift - _MAX_SHIFT
        multiplier = (multiplier + (1 << excess >> 1)) >> excess if excess < bits else 0
        shift = _MAX_SHIFT
    if shift < _MIN_SHIFT:
        raise ValueError(f"a factor of {factor} is too large to be a scale")
    return multiplier, shift
