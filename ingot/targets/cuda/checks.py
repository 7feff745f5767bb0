"""Checks of a model's inputs, which the runtime makes before anything is copied to the device.

A check is a prim func that raises an error (``ingot/targets/relax/value_checks.py``), which a
kernel cannot do. One that holds an input against fixed bounds becomes a record of the plan.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tvm_ffi
from tvm import ir, tirx

from ingot.errors import CompilationError
from ingot.targets.relax.loops import REFUSE

# A check of bounds raises its error with the value, both bounds, and the largest right value.
_VALUES = 4


@dataclasses.dataclass(frozen=True)
class Bounds:
    """A check that integers are at least ``low``, and below ``high``.

    Attributes:
        low: The first bound.
        high: The second one.
        message: What is wrong otherwise, with places for the value and the bounds.
    """

    low: int
    high: int
    message: str


def checked_bounds(name: str, function: tirx.PrimFunc) -> Bounds | None:
    """Returns what a prim func checks; None where it checks nothing.

    Raises:
        CompilationError: It checks something other than fixed bounds of all values.
    """
    refusals: list[Any] = []

    def visit(call: ir.Call) -> None:
        if call.args and getattr(call.args[0], "value", None) == REFUSE:
            refusals.append(call)

    tvm_ffi.structural_walk(function.body, (ir.Call, visit))
    if not refusals:
        return None
    _, message, *values = refusals[0].args
    bounds = values[1:3]
    if len(refusals) > 1 or len(values) != _VALUES or not all(map(_is_number, bounds)):
        raise CompilationError(
            f"{name} checks values ({message.value}) in a way that cannot be done before a launch"
        )
    return Bounds(int(bounds[0]), int(bounds[1]), str(message.value))


def _is_number(value: Any) -> bool:
    return isinstance(value, tirx.IntImm)
