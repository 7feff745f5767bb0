"""exp, exp2, log, sigmoid, tanh and erf of float32 as plain arithmetic that LLVM keeps in vectors.

TVM lowers these functions to scalar calls of libm, which end vectorization. Here each of them is a
range reduction and a polynomial or rational minimax approximation, made of additions,
multiplications, selects, integer shifts and at most one division. Scalars and vectors
(``float32xN``) get the same expression, hence the same bits on one machine. NaN gives NaN.

Techniques, used in several functions:

* *Rounding by a magic number.* ``t = v + 1.5 * 2**23`` holds ``round(v)`` in its low mantissa bits
  and ``t - 1.5 * 2**23`` is it as a float: no rounding instruction, no conversion. With 127 added
  to the magic number, ``bits(t) << 23`` is the power of two itself.
* *Reduction in two steps* (Cody and Waite, Software Manual for the Elementary Functions, 1980):
  ``x - n * ln2`` with ln2 as a 9-bit head, whose products with n are exact, and a tail.
* *Bounds* as min and max with the bound first, one minps or maxps, which let a NaN through.
* *An outer function that is flat where the result is near one*, for tanh and erf: the rounding
  errors of numerator and denominator, which cost a plain quotient about 5 ulp, vanish there.

How the coefficients were obtained: minimax fits in float64 on 2,000 to 4,000 Chebyshev nodes of the
reduced interval. Polynomials by linear programming, rounded to float32 from the lowest degree up
with the higher ones fitted anew after each. Rational functions by differential correction
(Barrodale, Powell and Roberts, SIAM J. Numer. Anal. 9, 1972), weighted for the relative error of
the result, then a random search over neighbouring float32 coefficients for the least measured one.

Errors are in ulp: the distance to the exact value over the spacing of float32 numbers there. They
are maxima, rounded up, against float64 and where the result is a normal number: over all float32
inputs for tanh and erf, over every third for exp, every 37th for the others. The first
figure is for fused multiply-adds (as AVX2, AVX-512 and NEON have them), the second for code without
them (x86-64-v2). Instruction counts are for one AVX2 vector, without loads, stores and moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tvm import tirx

_LOG2_E = 1.4426950408889634
_LN2_HEAD = 0.693359375
_LN2_TAIL = -2.1219444005469057e-4
_MANTISSA_BITS = 23
_MAGIC = 12583039.0  # 1.5 * 2**23, and the exponent's bias, 127

# Less than half, by more than the rounding error of what it is subtracted from: 128 goes to 128.
_ALMOST_HALF = 0.499995
# e**x on [0, ln 2] and 2**x on [0, 1], least absolute error (results lie in [1, 2]).
_EXP = (1.0, 0.99999976, 0.50000679, 0.16660324, 0.041935883, 0.0077638873, 0.0019630086)
_EXP2 = (1.0, 0.693147, 0.2402299, 0.05548245, 0.009681268, 0.0012413864, 0.00021798778)
# e**-x on [-ln 2 / 2, ln 2 / 2], least relative error.
_EXP_NEGATED = (1.0, -0.9999997, 0.49999151, -0.16667648, 0.041897837, -0.0082897106)
# (x + x³ P(x²)) / Q(x²) = tanh(x / 2). From the bound on, the result is one.
_TANH_BOUND = 8.75
_TANH_NUMERATOR = (0.0297752786, 0.000114280752)
_TANH_DENOMINATOR = (2.0, 0.22621718, 0.00241339486, 2.45881643e-06)
# (x + x³ P(x²)) / Q(x²) = 2 sin(asin(erf(x)) / 3). From the bound on, the result is one.
_ERF_BOUND = 3.92
_ERF_NUMERATOR = (0.0404348522, 0.00699216593)
_ERF_DENOMINATOR = (1.32934034, 0.246115893, 0.0208240356, 0.000835605722, -4.13748603e-06)
# (log(1 + f) - f + f²/2) / f³ on [sqrt(1/2) - 1, sqrt(2) - 1], least relative error of log.
_LOG = (
    0.333339125, -0.250013351, 0.199630007, -0.165775508, 0.14915362, -0.142683014, 0.0870004892,
)  # fmt: skip
_SQRT_HALF_BITS = 0x3F3504F3
_SMALLEST_NORMAL = 2.0**-126


class _Bindings:
    """Names values that are used several times, so that each is computed once."""

    def __init__(self) -> None:
        self._pairs: list[tuple[tirx.Var, tirx.Expr]] = []

    def bind(self, name: str, value: tirx.Expr) -> tirx.Var:
        variable = tirx.Var(name, value.ty)
        self._pairs.append((variable, value))
        return variable

    def bind_within(self, x: tirx.Expr, lowest: float, highest: float) -> tirx.Var:
        """Binds x, drawn to the bounds where it lies outside of them; NaN stays.

        TVM's max(a, b) is ``select(a > b, a, b)``, and min alike: the bound stands first.
        """
        raised = tirx.Max(_like(x, lowest), x)
        return self.bind("bounded", tirx.Min(_like(x, highest), raised))

    def close(self, body: tirx.Expr) -> tirx.Expr:
        """Returns the body inside of all bindings."""
        for variable, value in reversed(self._pairs):
            body = tirx.Let(variable, value, body)
        return body


def exp(x: tirx.Expr) -> tirx.Expr:
    """Returns e**x.

    e**x = 2**n e**r with n = floor(x / ln 2); the power of two of n = -127 is zero and that of 128
    infinity, so that both ends need no case of their own. Error: 1.5 and 1.9 ulp; e**0 is 1.
    Results below 2**-126 (x < -87.3365) are 0, as is e**-inf; e**inf is inf. 15 instructions.
    """
    let = _Bindings()
    bounded = let.bind_within(x, -88.0, 89.0)
    low = bounded * _like(x, _LOG2_E) - _like(x, _ALMOST_HALF)
    magic = let.bind("magic", low + _like(x, _MAGIC))
    n = let.bind("n", magic - _like(x, _MAGIC))
    rest = let.bind("rest", bounded - n * _like(x, _LN2_HEAD) - n * _like(x, _LN2_TAIL))
    return let.close(_polynomial(_EXP, rest) * _power_of_two(magic))


def exp2(x: tirx.Expr) -> tirx.Expr:
    """Returns 2**x.

    2**x = 2**n 2**r with n = floor(x), as in ``exp``. Error: 1.3 and 1.7 ulp; the powers of
    whole x are exact. Results below 2**-126 are 0, as is 2**-inf; 2**inf is inf. 14 instructions.
    """
    let = _Bindings()
    bounded = let.bind_within(x, -127.0, 128.0)
    magic = let.bind("magic", bounded - _like(x, _ALMOST_HALF) + _like(x, _MAGIC))
    rest = let.bind("rest", bounded - (magic - _like(x, _MAGIC)))
    return let.close(_polynomial(_EXP2, rest) * _power_of_two(magic))


def sigmoid(x: tirx.Expr) -> tirx.Expr:
    """Returns 1 / (1 + e**-x).

    e**-x = 2**n e**-r with n = round(-x / ln 2) and r = x + n ln 2. Error: 3.4 ulp, and 9.4e-8
    absolute; 0 and 1 at the infinities, 0 or subnormal for x < -87.34. 14 instructions, among them
    a division.
    """
    let = _Bindings()
    bounded = let.bind_within(x, -89.0, 87.5)
    magic = let.bind("magic", bounded * _like(x, -_LOG2_E) + _like(x, _MAGIC))
    n = let.bind("n", magic - _like(x, _MAGIC))
    rest = let.bind("rest", bounded + n * _like(x, _LN2_HEAD) + n * _like(x, _LN2_TAIL))
    one = _like(x, 1.0)
    return let.close(one / (_polynomial(_EXP_NEGATED, rest) * _power_of_two(magic) + one))


def tanh(x: tirx.Expr) -> tirx.Expr:
    """Returns the hyperbolic tangent.

    2nd / (n² + d²) with n / d = tanh(x / 2), an odd rational function. Error: 4.1 and
    4.7 ulp, 1.8e-7 and 2.1e-7 absolute; odd, within [-1, 1], ±1 from |x| = 8.75 on. 14
    instructions, among them a division.
    """
    let = _Bindings()
    n, d = _odd_rational(let, x, _TANH_BOUND, _TANH_NUMERATOR, _TANH_DENOMINATOR)
    return let.close((n + n) * d / (n * n + d * d))


def erf(x: tirx.Expr) -> tirx.Expr:
    """Returns the error function.

    (3t - t³) / 2 = sin(3 asin(t / 2)) with t = 2 sin(asin(erf(x)) / 3) as an odd rational function.
    Error: 3.5 and 3.7 ulp, 2.2e-7 absolute; odd, within [-1, 1], ±1 from |x| = 3.92 on. 14
    instructions, among them a division.
    """
    let = _Bindings()
    n, d = _odd_rational(let, x, _ERF_BOUND, _ERF_NUMERATOR, _ERF_DENOMINATOR)
    t = let.bind("t", n / d)
    half = _like(x, 0.5)
    return let.close(t + t * (half - t * t * half))


def log(x: tirx.Expr) -> tirx.Expr:
    """Returns the natural logarithm.

    e ln 2 + log(m) with x = m 2**e and m in [sqrt(1/2), sqrt(2)). Error: 1.3 ulp, subnormal x
    included. log(0) is -inf, log(inf) inf, that of a negative number NaN. About 30 instructions.
    """
    let = _Bindings()
    x = let.bind("x", x)
    subnormal = x < _like(x, _SMALLEST_NORMAL)
    scaled = tirx.Select(subnormal, x * _like(x, 2.0**_MANTISSA_BITS), x)
    bits = let.bind("bits", tirx.reinterpret(_integer_type(x), scaled))
    shift = tirx.const(_MANTISSA_BITS, bits.ty.dtype)
    exponent = let.bind("exponent", (bits - tirx.const(_SQRT_HALF_BITS, bits.ty.dtype)) >> shift)
    mantissa = tirx.reinterpret(str(x.ty.dtype), bits - (exponent << shift))
    part = let.bind("part", mantissa - _like(x, 1.0))
    scaling = tirx.Select(subnormal, _like(x, float(_MANTISSA_BITS)), _like(x, 0.0))
    e = let.bind("e", tirx.Cast(str(x.ty.dtype), exponent) - scaling)
    square = let.bind("square", part * part)
    tail = square * (part * _polynomial(_LOG, part) - _like(x, 0.5)) + e * _like(x, _LN2_TAIL)
    result = e * _like(x, _LN2_HEAD) + (part + tail)
    infinity, zero = _like(x, math.inf), _like(x, 0.0)
    unusual = tirx.Select(x.equal(zero), -infinity, _like(x, math.nan))
    return let.close(tirx.Select(x > zero, tirx.Select(x < infinity, result, x), unusual))


def rsqrt(x: tirx.Expr) -> tirx.Expr:
    """Returns 1 / sqrt(x), by the machine's square root and division: 1.5 ulp."""
    return _like(x, 1.0) / tirx.sqrt(x)


def _root(x: tirx.Expr) -> tirx.Expr:
    """Returns x**0.5, which is ``sqrt`` but for -0, which gives 0, and -inf, which gives inf."""
    let = _Bindings()
    x = let.bind("x", x)
    infinity = _like(x, math.inf)
    usual = tirx.sqrt(x + _like(x, 0.0))
    return let.close(tirx.Select(x.equal(-infinity), infinity, usual))


def _square(x: tirx.Expr) -> tirx.Expr:
    let = _Bindings()
    x = let.bind("x", x)
    return let.close(x * x)


def _fourth_root(x: tirx.Expr) -> tirx.Expr:
    return tirx.sqrt(_root(x))


def _three_quarters(x: tirx.Expr) -> tirx.Expr:
    """Returns x**0.75, the power of local response normalization: 2 ulp."""
    let = _Bindings()
    root = let.bind("root", _root(x))
    return let.close(root * tirx.sqrt(root))


def _cube(x: tirx.Expr) -> tirx.Expr:
    let = _Bindings()
    x = let.bind("x", x)
    return let.close(x * x * x)


POWERS: dict[float, Callable[[tirx.Expr], tirx.Expr]] = {
    -1.0: lambda x: _like(x, 1.0) / x,
    -0.75: lambda x: _like(x, 1.0) / _three_quarters(x),
    -0.5: lambda x: _like(x, 1.0) / _root(x),
    0.25: _fourth_root,
    0.5: _root,
    0.75: _three_quarters,
    1.0: lambda x: x,
    2.0: _square,
    3.0: _cube,
}
"""Exponents with a cheap way to compute the power."""


def _odd_rational(
    let: _Bindings,
    x: tirx.Expr,
    bound: float,
    numerator: Sequence[float],
    denominator: Sequence[float],
) -> tuple[tirx.Var, tirx.Var]:
    """Binds x + x³ P(x²) and Q(x²), for x drawn within [-bound, bound]."""
    bounded = let.bind_within(x, -bound, bound)
    square = let.bind("square", bounded * bounded)
    cubic = bounded * square * _polynomial(numerator, square)
    return let.bind("n", bounded + cubic), let.bind("d", _polynomial(denominator, square))


def _polynomial(coefficients: Sequence[float], x: tirx.Expr) -> tirx.Expr:
    """Returns the polynomial with coefficients from degree zero up, by Horner's rule."""
    result = _like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + _like(x, coefficient)
    return result


def _power_of_two(magic: tirx.Expr) -> tirx.Expr:
    """Returns 2**n of n + ``_MAGIC``, n from -127 (which gives 0) to 128 (which gives inf)."""
    bits = tirx.reinterpret(_integer_type(magic), magic)
    shifted = tirx.shift_left(bits, tirx.const(_MANTISSA_BITS, bits.ty.dtype))
    return tirx.reinterpret(str(magic.ty.dtype), shifted)


def _like(x: tirx.Expr, value: float) -> tirx.Expr:
    """Returns a constant of the type of x."""
    return tirx.const(value, x.ty.dtype)


def _integer_type(x: tirx.Expr) -> str:
    return str(x.ty.dtype).replace("float32", "int32")
