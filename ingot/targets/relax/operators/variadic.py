"""Element-wise operators of any number of operands: ``Max``, ``Mean``, ``Min`` and ``Sum``.

TVM's importer broadcasts the operands, stacks them and reduces the stack: three passes over memory
for what is an addition, and behind a convolution its layout pass fails on the stack's fifth axis.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax

from ingot.targets.relax.tvm_internals import convert_by_tvm

Convert = Callable[[relax.BlockBuilder, "list[Any]", "dict[str, Any]"], relax.Expr]


def _pairwise(operator: Callable[[Any, Any], relax.Expr], name: str) -> Convert:
    def convert(
        builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
    ) -> relax.Expr:
        if all(isinstance(operand, tvm.ir.GenericConst) for operand in inputs):
            # Computed at once.
            return convert_by_tvm(name, 1, builder, inputs, attributes)
        return functools.reduce(
            lambda left, right: builder.normalize(operator(left, right)), inputs
        )

    return convert


maximum = _pairwise(relax.op.maximum, "Max")
minimum = _pairwise(relax.op.minimum, "Min")
total = _pairwise(relax.op.add, "Sum")


def mean(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Mean``: the sum of the operands, divided by their number.

    Args:
        builder: The block builder to emit to.
        inputs: The operands, broadcast to a common shape.
        attributes: None are defined.
    """
    added = total(builder, inputs, attributes)
    return relax.op.divide(added, relax.const(len(inputs), str(added.ty.dtype)))
