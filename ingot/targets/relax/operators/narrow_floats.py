"""Floats of 8 and 4 bits as the bytes that encode them: to float32 and back.

The bits of exponent and mantissa, put in their place in a float32 and multiplied by the difference
of the two biases, are the number, subnormal ones included. Back it is the same in reverse: below
the smallest normal number adding a power of two lets the addition round, above it the mantissa is
rounded as an integer, and what overflows the mantissa goes to the exponent. Both round to nearest,
ties to even. The formats: "FP8 Formats for Deep Learning", https://arxiv.org/abs/2209.05433, and
https://onnx.ai/onnx/technical/float8.html.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_ir as ir
from tvm import tirx

# Of a float32.
_MANTISSA_BITS, _BIAS, _INFINITY = 23, 127, 0x7F800000


@dataclasses.dataclass(frozen=True)
class NarrowFloat:
    """A float format of at most 8 bits.

    Attributes:
        exponent_bits: Bits of its exponent.
        mantissa_bits: Bits of its mantissa.
        bias: What its exponent is stored with.
        largest: The code of the largest finite number.
        overflow: The code of what lies above it without saturation, but for the sign.
        nan: The code of what is not a number.
        infinite: Whether ``overflow`` is an infinity.
        signed_nan: Whether a NaN has a sign, too, and there is a zero of either sign. Without, the
            code of minus zero is the NaN.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int
    largest: int
    overflow: int
    nan: int
    infinite: bool = False
    signed_nan: bool = True

    @property
    def sign_bit(self) -> int:
        """The position of the sign."""
        return self.exponent_bits + self.mantissa_bits


NARROW_FLOATS: Mapping[ir.DataType, NarrowFloat] = {
    ir.DataType.FLOAT8E4M3FN: NarrowFloat(4, 3, 7, 0x7E, 0x7F, 0x7F),
    ir.DataType.FLOAT8E4M3FNUZ: NarrowFloat(4, 3, 8, 0x7F, 0x80, 0x80, signed_nan=False),
    ir.DataType.FLOAT8E5M2: NarrowFloat(5, 2, 15, 0x7B, 0x7C, 0x7E, infinite=True),
    ir.DataType.FLOAT8E5M2FNUZ: NarrowFloat(5, 2, 16, 0x7F, 0x80, 0x80, signed_nan=False),
    # It has no NaN, which becomes a zero.
    ir.DataType.FLOAT4E2M1: NarrowFloat(2, 1, 1, 0x7, 0x7, 0x8),
}


def decode(code: tirx.Expr, kind: NarrowFloat) -> tirx.Expr:
    """Returns the float32 that a byte encodes, exactly."""
    byte = code.astype("uint32")
    magnitude = byte & _bits((1 << kind.sign_bit) - 1)
    placed = magnitude << _bits(_MANTISSA_BITS - kind.mantissa_bits)
    value = _float(placed) * tirx.FloatImm("float32", 2.0 ** (_BIAS - kind.bias))
    sign = ((byte >> _bits(kind.sign_bit)) & _bits(1)) << _bits(31)
    if kind.infinite:
        # All ones in the exponent stay so; zeros and ones in the mantissa tell the two apart.
        value = tirx.Select(
            magnitude >= _bits(kind.overflow), _float(placed | _bits(_INFINITY)), value
        )
    else:
        value = tirx.Select(
            (magnitude if kind.signed_nan else byte) == _bits(kind.nan),
            _float(_bits(_INFINITY | 1 << 22)),
            value,
        )
    return _float(tirx.reinterpret("uint32", value) | sign)


def encode(value: tirx.Expr, kind: NarrowFloat, *, saturate: bool) -> tirx.Expr:
    """Returns the byte that encodes a float32, rounded to nearest, ties to even.

    Args:
        value: A float32.
        kind: The format.
        saturate: Whether what lies above the largest finite number becomes that one, infinities
            included; else it becomes an infinity, or NaN where the format has none.
    """
    bits = tirx.reinterpret("uint32", value)
    magnitude = bits & _bits(0x7FFFFFFF)
    shift = _MANTISSA_BITS - kind.mantissa_bits
    # The sum's last place is that of the format's subnormal numbers.
    magic = tirx.FloatImm("float32", 2.0 ** (1 - kind.bias - kind.mantissa_bits + _MANTISSA_BITS))
    subnormal = tirx.reinterpret("uint32", _float(magnitude) + magic)
    subnormal = subnormal - tirx.reinterpret("uint32", magic)
    odd = (magnitude >> _bits(shift)) & _bits(1)
    rebias = _bits((_BIAS - kind.bias) << _MANTISSA_BITS)
    normal = (magnitude - rebias + _bits((1 << (shift - 1)) - 1) + odd) >> _bits(shift)
    smallest_normal = _bits((_BIAS - kind.bias + 1) << _MANTISSA_BITS)
    code = tirx.Select(magnitude < smallest_normal, subnormal, normal)
    above = kind.largest if saturate else kind.overflow
    overflows = code > _bits(kind.largest)
    sign = (bits >> _bits(31)) << _bits(kind.sign_bit)
    if kind.signed_nan:
        code = tirx.Select(overflows, _bits(above), code) | sign
    else:
        finite = tirx.Select(code == _bits(0), code, code | sign)
        code = tirx.Select(overflows, _bits(above) | (sign if saturate else _bits(0)), finite)
    not_a_number = _bits(kind.nan) | (sign if kind.signed_nan else _bits(0))
    code = tirx.Select(magnitude > _bits(_INFINITY), not_a_number, code)
    return code.astype("uint8")


def _bits(value: int) -> tirx.Expr:
    return tirx.IntImm("uint32", value)


def _float(bits: tirx.Expr) -> tirx.Expr:
    return tirx.reinterpret("float32", bits)
