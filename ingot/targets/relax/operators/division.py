"""Quotients and remainders of integers and floats: the ONNX operators ``Div`` and ``Mod``.

A quotient of floats is what it is. Integers have none by zero: that is checked before they are
divided, and what is divided all the same, in a branch that is not taken, does not trap
(:mod:`ingot.targets.relax.legalization`).
"""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.targets.relax.builder import Builder
from ingot.targets.relax.tvm_internals import convert_by_tvm
from ingot.targets.relax.value_checks import require_divisors

_DIV_SINCE, _MOD_SINCE = 7, 10


def div(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Div``; integers are divided towards zero.

    Args:
        builder: The builder to emit to.
        inputs: Dividend and divisor, broadcast to each other.
        attributes: None are defined.
    """
    _check(builder, inputs[1])
    return convert_by_tvm("Div", _DIV_SINCE, builder, inputs, attributes)


def mod(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Mod``.

    Args:
        builder: The builder to emit to.
        inputs: Dividend and divisor, broadcast to each other.
        attributes: ``fmod``: whether the remainder has the dividend's sign, else the divisor's.
    """
    _check(builder, inputs[1])
    return convert_by_tvm("Mod", _MOD_SINCE, builder, inputs, attributes)


def _check(builder: Builder, divisor: relax.Expr) -> None:
    if "int" in str(divisor.ty.dtype):
        require_divisors(builder, divisor)
