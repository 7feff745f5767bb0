"""The Relax operator that DFT and STFT become: transforms of many rows, or of a signal's frames.

Relax has no transform. As one call, a target chooses for itself how it is computed. It is to be
replaced before TVM's own passes lower operators.
"""

from __future__ import annotations

import dataclasses
import json

import tvm
from tvm import relax

from ingot.targets.relax.tvm_internals import register_operator

FOURIER = "ingot.fourier"
_PROBLEM = "problem"

register_operator(FOURIER, "Discrete Fourier transforms of rows, or of a signal's frames.")
tvm.ir.register_op_attr(FOURIER, "FInferType", lambda call, _: call.ty_args[0])
tvm.ir.register_op_attr(FOURIER, "FPurity", True)
tvm.ir.register_op_attr(FOURIER, "TScriptPrinterName", FOURIER)


@dataclasses.dataclass(frozen=True)
class Fourier:
    """A discrete Fourier transform, but for the number of rows.

    Attributes:
        length: Its length; a row that is shorter is extended by zeros.
        bins: Values of the result, from the first on.
        complex_input: Whether each value of the input is a real and an imaginary part.
        complex_result: Whether each value of the result is; else it is the real part, and the input
            is the first half of a spectrum whose second half mirrors it.
        inverse: Whether it is the inverse transform, divided by the length.
        step: Distance of the frames that are cut out of each row; None where a row is one.
    """

    length: int
    bins: int
    complex_input: bool
    complex_result: bool = True
    inverse: bool = False
    step: int | None = None


def fourier_call(
    problem: Fourier, data: relax.Expr, window: relax.Expr | None, result: relax.TensorType
) -> relax.Call:
    """Returns the call of the operator.

    Args:
        problem: What it computes.
        data: Rows [.., values, 1 or 2 parts] of float32.
        window: What each frame is multiplied with, [length], if anything.
        result: Its type: [.., bins, 1 or 2 parts], the frames before the bins where there are.
    """
    attributes = tvm.ir.make_node(
        "ir.DictAttrs", **{_PROBLEM: json.dumps(dataclasses.asdict(problem))}
    )
    operands = [data] if window is None else [data, window]
    return relax.Call(tvm.ir.Op.get(FOURIER), operands, attributes, [result])


def read_fourier(call: relax.Call) -> tuple[Fourier, relax.Expr, relax.Expr | None]:
    """Returns what a call of the operator computes, its data and its window."""
    problem = Fourier(**json.loads(str(call.attrs[_PROBLEM])))
    return problem, call.args[0], call.args[1] if len(call.args) > 1 else None
