"""exp, exp2, log, sigmoid, tanh and erf of float32 as plain arithmetic that LLVM keeps in vectors.

TVM lowers these functions to scalar calls of libm, which end vectorization. Here each of them is a
range reduction and a polynomial or rational minimax approximation, made of additions,
multiplications, selects, integer shifts and at most one division. Scalars and vectors
(``float32xN``) get the same expression, hence the same bits on one machine.

Techniques, used in several functions:

* *Rounding by a magic number.* ``t = v + 1.5 * 2**23`` holds ``round(v)`` in its low mantissa bits
  and ``t - 1.5 * 2**23`` is it as a float: neither a rounding instruction nor a conversion. With
  127 added to the number, ``bits(t) << 23`` is the power of two itself.
* *Reduction in two steps* (Cody and Waite, Software Manual for the Elementary Functions, 1980):
  ``x - n * ln2`` with ln2 as a 9-bit head, whose products with n are exact, and a tail.
* *Bounds* as ``select(bound < x, bound, x)``, which is one minps or maxps and hands a NaN through.

How the coefficients were obtained: minimax fits in float64 on a few thousand Chebyshev nodes of the
reduced interval. Polynomials by linear programming, rounded to float32 from the lowest degree up
with the higher ones fitted anew after each; rational functions by the differential correction
algorithm (Barrodale, Powell and Roberts, SIAM J. Numer. Anal. 9, 1972) on the relative error, then a
coordinate search over neighbouring float32 coefficients for the least error of the float32 result.

Errors are given in ulp (distance to the exact value over the spacing of float32 numbers there). They
were measured over all float32 inputs against float64, with fused multiply-adds (AVX2, FMA); without
them (x86-64-v2) they are given in parentheses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tvm import tirx

_LOG2_E = 1.4426950408889634
_LN2_HEAD = 0.693359375
_LN2_TAIL = -2.1219444005469057e-4
_MANTISSA_BITS = 23
_ROUND = 12582912.0  # 1.5 * 2**23
_ROUND_BIASED = 12583039.0  # the same plus the exponent's bias, 127

# 2**x on [0, 1] and e**x on [0, ln 2], least absolute error (results lie in [1, 2]).
_EXP2 = (1.0, 0.693147, 0.2402299, 0.05548245, 0.009681268, 0.0012413864, 0.00021798778)
_EXP = (1.0, 0.99999976, 0.50000679, 0.16660324, 0.041935883, 0.0077638873, 0.0019630086)
# e**x on [-ln 2 / 2, ln 2 / 2], least relative error.
_EXP_CENTRED = (1.0, 0.9999997, 0.49999151, 0.16667648, 0.041897837, 0.0082897106)
# x P(x²) / Q(x²), least relative error up to where the function rounds to one.
_TANH_BOUND = 9.02
_TANH_NUMERATOR = (1.0, 0.133837023, 0.00349863273, 2.06537099e-05, 1.34061518e-08)
_TANH_DENOMINATOR = (1.0, 0.467170232, 0.0258889144, 0.000329037842, 7.79982190e-07)
_ERF_BOUND = 3.93
_ERF_NUMERATOR = (
    1.12837916, 0.189068473, 0.0525684316, 0.00370802548, 0.000283545317, 2.05929053e-06,
)  # fmt: skip
_ERF_DENOMINATOR = (
    1.0, 0.500890563, 0.113553175, 0.0148530314, 0.00114854938, 3.81183776e-05,
)  # fmt: skip
# (log(1 + f) - f + f²/2) / f³ on [sqrt(1/2) - 1, sqrt(2) - 1].
_LOG = (
    0.333339125, -0.250013351, 0.199630007, -0.165775508, 0.14915362, -0.142683014, 0.0870004892,
)  # fmt: skip
_SQRT_HALF_BITS = 0x3F3504F3
_SMALLEST_NORMAL = 2.0**-126


class _Bindings:
    """Names values that are used several times, so that each is computed once."""

    def __init__(self) -> None:
        self._pairs: list[tuple[tirx.Var, tirx.PrimExpr]] = []

    def bind(self, name: str, value: tirx.PrimExpr) -> tirx.Var:
        variable = tirx.Var(name, value.ty)
        self._pairs.append((variable, value))
        return variable

    def bind_within(self, x: tirx.PrimExpr, lowest: float, highest: float) -> tirx.Var:
        """Binds x, drawn to the bounds where it lies outside of them; NaN stays."""
        low, high = _like(x, lowest), _like(x, highest)
        x = self.bind("x", x)
        raised = self.bind("raised", tirx.Select(x < low, low, x))
        return self.bind("bounded", tirx.Select(high < raised, high, raised))

    def close(self, body: tirx.PrimExpr) -> tirx.PrimExpr:
        """Returns the body inside of all bindings."""
        for variable, value in reversed(self._pairs):
            body = tirx.Let(variable, value, body)
        return body


def exp(x: tirx.PrimExpr) -> tirx.PrimExpr:
    """Returns e**x."""
    let = _Bindings()
    bounded = let.bind_within(x, -88.0, 89.0)
    shifted = bounded * _like(x, _LOG2_E) - _like(x, 0.499995)
    biased = let.bind("biased", shifted + _like(x, _ROUND_BIASED))
    whole = let.bind("whole", biased - _like(x, _ROUND_BIASED))
    rest = let.bind("rest", _minus_multiple_of_ln2(bounded, whole))
    return let.close(_polynomial(_EXP, rest) * _power_of_two(biased))


def exp2(x: tirx.PrimExpr) -> tirx.PrimExpr:
    """Returns 2**x."""
    let = _Bindings()
    bounded = let.bind_within(x, -127.0, 128.0)
    biased = let.bind("biased", bounded - _like(x, 0.499995) + _like(x, _ROUND_BIASED))
    rest = let.bind("rest", bounded - (biased - _like(x, _ROUND_BIASED)))
    return let.close(_polynomial(_EXP2, rest) * _power_of_two(biased))


def sigmoid(x: tirx.PrimExpr) -> tirx.PrimExpr:
    """Returns 1 / (1 + e**-x)."""
    let = _Bindings()
    bounded = let.bind_within(x, -89.0, 87.5)
    biased = let.bind("biased", bounded * _like(x, -_LOG2_E) + _like(x, _ROUND_BIASED))
    whole = let.bind("whole", biased - _like(x, _ROUND_BIASED))
    negated = bounded + whole * _like(x, _LN2_HEAD) + whole * _like(x, _LN2_TAIL)
    rest = let.bind("rest", negated)
    signed = [c if k % 2 == 0 else -c for k, c in enumerate(_EXP_CENTRED)]
    one = _like(x, 1.0)
    return let.close(one / (_polynomial(signed, rest) * _power_of_two(biased) + one))


def tanh(x: tirx.PrimExpr) -> tirx.PrimExpr:
    """Returns the hyperbolic tangent."""
    return _odd_rational(x, _TANH_BOUND, _TANH_NUMERATOR, _TANH_DENOMINATOR)


def erf(x: tirx.PrimExpr) -> tirx.PrimExpr:
    """Returns the error function."""
    return _odd_rational(x, _ERF_BOUND, _ERF_NUMERATOR, _ERF_DENOMINATOR)


def log(x: tirx.PrimExpr) -> tirx.PrimExpr:
    """Returns the natural logarithm."""
    let = _Bindings()
    x = let.bind("x", x)
    subnormal = x < _like(x, _SMALLEST_NORMAL)
    scaled = tirx.Select(subnormal, x * _like(x, 2.0**_MANTISSA_BITS), x)
    bits = let.bind("bits", tirx.reinterpret(_integer_type(x), scaled))
    shift = tirx.const(_MANTISSA_BITS, bits.ty.dtype)
    exponent = let.bind("exponent", (bits - tirx.const(_SQRT_HALF_BITS, bits.ty.dtype)) >> shift)
    mantissa = tirx.reinterpret(str(x.ty.dtype), bits - (exponent << shift))
    part = let.bind("part", mantissa - _like(x, 1.0))
    whole = tirx.Cast(str(x.ty.dtype), exponent)
    offset = tirx.Select(subnormal, _like(x, float(_MANTISSA_BITS)), _like(x, 0.0))
    whole = let.bind("whole", whole - offset)
    square = let.bind("square", part * part)
    tail = part * _polynomial(_LOG, part) - _like(x, 0.5)
    small = square * tail + whole * _like(x, _LN2_TAIL)
    result = whole * _like(x, _LN2_HEAD) + (part + small)
    infinity, zero = _like(x, math.inf), _like(x, 0.0)
    unusual = tirx.Select(x.equal(zero), -infinity, _like(x, math.nan))
    return let.close(tirx.Select(x > zero, tirx.Select(x < infinity, result, x), unusual))


def rsqrt(x: tirx.PrimExpr) -> tirx.PrimExpr:
    """Returns 1 / sqrt(x), a square root and a division."""
    return _like(x, 1.0) / tirx.sqrt(x)


def _square(x: tirx.PrimExpr) -> tirx.PrimExpr:
    let = _Bindings()
    x = let.bind("x", x)
    return let.close(x * x)


# x to the power of the key. sqrt(-0) is -0 and sqrt(-inf) NaN, where pow has 0 and inf.
POWERS: dict[float, Callable[[tirx.PrimExpr], tirx.PrimExpr]] = {
    -1.0: lambda x: _like(x, 1.0) / x,
    -0.5: rsqrt,
    0.5: tirx.sqrt,
    1.0: lambda x: x,
    2.0: _square,
}


def _odd_rational(
    x: tirx.PrimExpr, bound: float, numerator: Sequence[float], denominator: Sequence[float]
) -> tirx.PrimExpr:
    """Returns x P(x²) / Q(x²) within [-1, 1]; from the bound on P and Q stand still, x grows."""
    let = _Bindings()
    x = let.bind("x", x)
    square = let.bind("square", x * x)
    limit, one = _like(x, bound * bound), _like(x, 1.0)
    square = let.bind("bounded", tirx.Select(limit < square, limit, square))
    quotient = x * _polynomial(numerator, square) / _polynomial(denominator, square)
    return let.close(let.bind_within(quotient, -1.0, 1.0))


def _polynomial(coefficients: Sequence[float], x: tirx.PrimExpr) -> tirx.PrimExpr:
    """Returns the polynomial with coefficients from degree zero up, by Horner's rule."""
    result = _like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + _like(x, coefficient)
    return result


def _minus_multiple_of_ln2(x: tirx.PrimExpr, whole: tirx.PrimExpr) -> tirx.PrimExpr:
    return x - whole * _like(x, _LN2_HEAD) - whole * _like(x, _LN2_TAIL)


def _power_of_two(biased: tirx.PrimExpr) -> tirx.PrimExpr:
    """Returns 2**n of a number that holds n + 127 in its low bits: 0 for n = -127, inf for 128."""
    bits = tirx.reinterpret(_integer_type(biased), biased)
    shifted = tirx.shift_left(bits, tirx.const(_MANTISSA_BITS, bits.ty.dtype))
    return tirx.reinterpret(str(biased.ty.dtype), shifted)


def _like(x: tirx.PrimExpr, value: float) -> tirx.PrimExpr:
    """Returns a constant of the type of x."""
    return tirx.const(value, x.ty.dtype)


def _integer_type(x: tirx.PrimExpr) -> str:
    return str(x.ty.dtype).replace("float32", "int32")
