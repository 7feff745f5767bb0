"""Element-wise operations of one or two feature maps."""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream.decode import CommandError
from ingot.runtime.npu.command_stream.registers import OperandScaling, Rounding, Scale
from ingot.runtime.npu.command_stream.scaling import scale

Integers = npt.NDArray[np.int64]

# The operand that is not scaled gets as many more bits, by the bytes of an element.
_FRACTION_BITS = {1: 19, 2: 14}


class ElementWise(enum.IntEnum):
    """The element-wise operations."""

    MUL = 0
    ADD = 1
    SUB = 2
    MIN = 3
    MAX = 4
    LRELU = 5
    ABS = 6
    CLZ = 7
    SHR = 8
    SHL = 9

    @property
    def is_unary(self) -> bool:
        """Whether it takes one operand."""
        return self in (ElementWise.LRELU, ElementWise.ABS, ElementWise.CLZ)

    @property
    def is_scaled(self) -> bool:
        """Whether ``OFM_SCALE`` scales its result."""
        return self in (ElementWise.MUL, ElementWise.ADD, ElementWise.SUB, ElementWise.ABS)


def combine(operation: ElementWise, first: Integers, second: Integers) -> Integers:
    """Returns the result of an operation of two operands, not yet scaled.

    Args:
        operation: Which; no shift.
        first: The first operand, less its zero point.
        second: The second, likewise; it may have one element along any axis.
    """
    if operation is ElementWise.MUL:
        return first * second
    if operation is ElementWise.ADD:
        return first + second
    if operation is ElementWise.SUB:
        return first - second
    if operation is ElementWise.MIN:
        return np.minimum(first, second)
    return np.maximum(first, second)


def scale_one(
    first: Integers,
    second: Integers,
    scaled: OperandScaling,
    by: Scale,
    rounding: Rounding,
    itemsize: int,
) -> tuple[Integers, Integers]:
    """Returns operands of a sum on one grid: one scaled to it, the other shifted.

    The grid has 20 bits (15 for elements of two bytes) for twice the larger of the operands'
    scales; the operand that has that scale is shifted by one less (ethos-u-vela, ``scaling.py``,
    the scaling called advanced).

    Args:
        first: The first operand, less its zero point.
        second: The second, likewise.
        scaled: Which of them is scaled.
        by: How; always what ``OPA_SCALE`` says.
        rounding: How the scaled operand is rounded.
        itemsize: Bytes of an operand's element.

    Raises:
        CommandError: Elements are of 32 bits, which no such sum has.
    """
    if itemsize not in _FRACTION_BITS:
        raise CommandError(f"a sum of elements of {8 * itemsize} bits scales one of them")
    bits = _FRACTION_BITS[itemsize]
    if scaled is OperandScaling.FIRST:
        return scale(first, by.multiplier, by.shift, rounding), second << bits
    return first << bits, scale(second, by.multiplier, by.shift, rounding)


def shift(
    operation: ElementWise, values: Integers, amounts: Integers, rounding: Rounding
) -> Integers:
    """Returns 32-bit values shifted, ``SHL`` without the bits that leave.

    Rounding ``NATURAL`` is that of TOSA's ``ARITHMETIC_RIGHT_SHIFT`` with ``round``; for the one
    without, ethos-u-vela gives rounding 0, so that this one does not round here.

    Args:
        operation: ``SHL`` or ``SHR``.
        values: What to shift.
        amounts: By how many bits, 0 to 31.
        rounding: How a right shift rounds.

    Raises:
        CommandError: An amount is no amount, or the rounding is not simulated.
    """
    if amounts.size and not (amounts.min() >= 0 and amounts.max() <= 31):
        raise CommandError("it shifts by less than 0 or more than 31 bits")
    if operation is ElementWise.SHL:
        return (values << amounts).astype(np.int32).astype(np.int64)
    if rounding is Rounding.TRUNCATE:
        raise CommandError("a right shift with truncation is not simulated")
    if rounding is Rounding.NATURAL:
        return (values + ((1 << amounts) >> 1)) >> amounts
    return values >> amounts


def absolute(values: Integers) -> Integers:
    """Returns magnitudes."""
    return np.abs(values)


def leading_zeros(values: Integers) -> Integers:
    """Returns how many of a 32-bit value's leading bits are 0."""
    # frexp's exponent is the number of bits; exact, for 32 bits fit a float's 53.
    bits = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    return np.where(values < 0, 0, 32 - bits)


def leaky(values: Integers, slope: Scale, rounding: Rounding) -> Integers:
    """Returns values, the negative ones scaled by the slope."""
    scaled = scale(values, slope.multiplier, slope.shift, rounding)
    return np.where(values < 0, scaled, values)
