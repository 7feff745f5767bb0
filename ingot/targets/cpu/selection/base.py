"""What a rule that selects a kernel for a Relax call gets to see and to use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeGuard

from tvm import relax, tirx

from ingot.targets.cpu.machine import CpuDescription

# TVM's classes of prim funcs, by which FuseOps decides what may be merged.
OP_PATTERN = "op_pattern"
OUT_ELEMENTWISE_FUSABLE = 4
OPAQUE = 8


NCHW_TO_NHWC = (0, 2, 3, 1)
"""The order of axes that brings channels to the end."""
FEW_CHANNELS = 4
"""An image of so many channels is read as the network is given it, channels first: a transpose of
it costs a pass over it."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """The surroundings of a call for which a kernel is selected.

    Attributes:
        builder: The block builder of the function that is being rewritten.
        cpu: The processor that code is made for.
        producer: Returns the expression that a variable is bound to, or None.
        uses: Returns how many times a variable is read.
    """

    builder: relax.BlockBuilder
    cpu: CpuDescription
    producer: Callable[[relax.Var], relax.Expr | None]
    uses: Callable[[relax.Var], int]

    def call(
        self,
        function: tirx.PrimFunc,
        name: str,
        inputs: Sequence[relax.Expr],
        result: relax.TensorType | list[relax.TensorType],
        *,
        pattern: int = OPAQUE,
    ) -> relax.Expr:
        """Adds a prim func to the module and returns the call of it.

        Args:
            function: Takes the inputs' buffers, then the result's or the results'.
            name: The function's name; made unique.
            inputs: The tensors that it reads.
            result: The type of what it writes; a list makes the call's value a tuple.
            pattern: What FuseOps may do with it.
        """
        function = function.with_attr(OP_PATTERN, pattern)
        variable = self.builder.add_func(function.without_attr("global_symbol"), name)
        return relax.call_tir(variable, list(inputs), result)


Selector: TypeAlias = Callable[[Selection, relax.Call], "relax.Expr | None"]


def first_of(rules: Sequence[Selector]) -> Selector:
    """Returns the rule that gives what the first of several gives that takes a call."""

    def select(selection: Selection, call: relax.Call) -> relax.Expr | None:
        found = (rule(selection, call) for rule in rules)
        return next((selected for selected in found if selected is not None), None)

    return select


def is_call(call: relax.Expr | None, *operators: str) -> TypeGuard[relax.Call]:
    """Whether an expression is a call of one of these operators."""
    return isinstance(call, relax.Call) and getattr(call.op, "name", "") in operators


def producer(selection: Selection, expression: relax.Expr) -> relax.Call | None:
    """Returns the call that made a tensor."""
    value = selection.producer(expression) if isinstance(expression, relax.Var) else None
    return value if isinstance(value, relax.Call) else None


def single_use(selection: Selection, expression: relax.Expr, operator: str) -> relax.Call | None:
    """Returns the call of this operator that made a tensor, if nothing else reads it."""
    call = producer(selection, expression)
    return call if is_call(call, operator) and selection.uses(expression) == 1 else None
