"""The Relax operator that LSTM, GRU and RNN become: one call for all time steps and directions.

Relax has no recurrence. As one call, a target chooses for itself how the weights lie in memory and
what is computed before the loop over time. It is to be replaced before TVM's own passes lower
operators.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import tvm
from tvm import relax

from ingot.targets.relax.tvm_internals import register_operator

RECURRENCE = "ingot.recurrence"
_PROBLEM = "problem"
_OPERANDS = "operands"

register_operator(RECURRENCE, "LSTM, GRU or RNN over all time steps.")
tvm.ir.register_op_attr(RECURRENCE, "FInferType", lambda call, _: call.ty_args[0])
tvm.ir.register_op_attr(RECURRENCE, "FPurity", True)
tvm.ir.register_op_attr(RECURRENCE, "TScriptPrinterName", RECURRENCE)


@dataclasses.dataclass(frozen=True)
class Activation:
    """A function of one value.

    Attributes:
        name: ONNX's name in lower case, such as ``hardsigmoid``.
        alpha: Its first parameter, where it has one.
        beta: Its second.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0


@dataclasses.dataclass(frozen=True)
class Recurrence:
    """What an LSTM, GRU or RNN computes, but for its sizes.

    Attributes:
        cell: ``LSTM``, ``GRU`` or ``RNN``.
        reverse: For each direction, whether it begins with the last step.
        activations: For each direction the cell's functions in ONNX's order (f, g, h).
        clip: Bound of what goes into an activation, if there is one.
        batch_first: Whether batches come before steps and directions (ONNX's layout 1).
        input_forget: LSTM: whether the forget gate is one minus the input gate.
        linear_before_reset: GRU: whether the reset gate scales the product, not the state.
    """

    cell: str
    reverse: tuple[bool, ...]
    activations: tuple[tuple[Activation, ...], ...]
    clip: float | None = None
    batch_first: bool = False
    input_forget: bool = False
    linear_before_reset: bool = False

    @property
    def directions(self) -> int:
        """Number of directions, 1 or 2."""
        return len(self.reverse)

    @property
    def gates(self) -> int:
        """Number of gates of the cell."""
        return {"LSTM": 4, "GRU": 3, "RNN": 1}[self.cell]

    @property
    def results(self) -> int:
        """Number of results: the states of all steps, the last, and an LSTM's last cell state."""
        return 3 if self.cell == "LSTM" else 2


def recurrence_call(
    problem: Recurrence, operands: Mapping[str, relax.Expr], results: Sequence[relax.TensorType]
) -> relax.Call:
    """Returns the call of the operator.

    Args:
        problem: What it computes.
        operands: ``x`` [steps, batch, inputs] (or batch first), ``w`` [directions, gates · hidden,
            inputs], ``r`` [directions, gates · hidden, hidden]; where they are given ``b``
            [directions, 2 · gates · hidden], ``lengths`` [batch] of int32, ``initial_h`` and
            ``initial_c`` [directions, batch, hidden] (or batch first), ``peepholes``
            [directions, 3 · hidden]; all but the lengths of float32.
        results: Types of ``Y``, ``Y_h`` and, of an LSTM, ``Y_c``.
    """
    attributes = tvm.ir.make_node(
        "ir.DictAttrs",
        **{_PROBLEM: json.dumps(dataclasses.asdict(problem)), _OPERANDS: ",".join(operands)},
    )
    return relax.Call(
        tvm.ir.Op.get(RECURRENCE),
        list(operands.values()),
        attributes,
        [relax.TupleType(list(results))],
    )


def read_recurrence(call: relax.Call) -> tuple[Recurrence, dict[str, relax.Expr]]:
    """Returns what a call of the operator computes, and its operands by name."""
    fields: dict[str, Any] = json.loads(str(call.attrs[_PROBLEM]))
    activations = tuple(
        tuple(Activation(**function) for function in functions)
        for functions in fields.pop("activations")
    )
    problem = Recurrence(**{**fields, "reverse": tuple(fields["reverse"])}, activations=activations)
    names = str(call.attrs[_OPERANDS]).split(",")
    return problem, dict(zip(names, call.args, strict=True))
