"""Recurrent layers: the ONNX operators ``LSTM``, ``GRU`` and ``RNN``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.operators.narrower_floats import COMPUTED, as_computed, as_given
from ingot.targets.relax.recurrence import Activation, Recurrence, recurrence_call

_INPUTS = ("x", "w", "r", "b", "lengths", "initial_h", "initial_c", "peepholes")
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_DEFAULTS = {
    "LSTM": ("sigmoid", "tanh", "tanh"),
    "GRU": ("sigmoid", "tanh"),
    "RNN": ("tanh",),
}
# The parameters that each function takes, with ONNX Runtime's defaults. ONNX points to operators of
# the same names: ThresholdedRelu's would be 1, and Affine and ScaledTanh are none.
_PARAMETERS: Mapping[str, Mapping[str, float]] = {
    "affine": {"alpha": 0.0, "beta": 0.0},
    "elu": {"alpha": 1.0},
    "hardsigmoid": {"alpha": 0.2, "beta": 0.5},
    "leakyrelu": {"alpha": 0.01},
    "relu": {},
    "scaledtanh": {"alpha": 0.0, "beta": 0.0},
    "sigmoid": {},
    "softplus": {},
    "softsign": {},
    "tanh": {},
    "thresholdedrelu": {"alpha": 0.0},
}


def lstm(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``LSTM``; see :func:`_convert`."""
    return _convert("LSTM", builder, inputs, attributes)


def gru(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``GRU``; see :func:`_convert`."""
    return _convert("GRU", builder, inputs, attributes)


def rnn(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``RNN``; see :func:`_convert`."""
    return _convert("RNN", builder, inputs, attributes)


def _convert(
    cell: str, builder: relax.BlockBuilder, inputs: Sequence[Any], attributes: Mapping[str, Any]
) -> relax.Expr:
    """Converts a recurrent layer to a call of Ingot's operator for it.

    Args:
        cell: ``LSTM``, ``GRU`` or ``RNN``.
        builder: The block builder to emit to.
        inputs: As ONNX has them, None where one is left out.
        attributes: As ONNX has them.

    Returns:
        A tuple of ``Y``, ``Y_h`` and, of an LSTM, ``Y_c``.

    Raises:
        UnsupportedOperatorError: An attribute that ONNX does not know, inputs whose sizes do not
            fit or are not known, float64.
    """
    operands = {
        name: given for name, given in zip(_INPUTS, inputs, strict=False) if given is not None
    }
    problem = _problem(cell, attributes)
    dtype = str(operands["x"].ty.dtype)
    results = _result_types(problem, operands, attributes)
    operands = {
        name: given if name == "lengths" else as_computed(builder, given)
        for name, given in operands.items()
    }
    call = builder.emit(recurrence_call(problem, operands, results))
    fields = [builder.emit(relax.TupleGetItem(call, number)) for number in range(len(results))]
    return relax.Tuple([as_given(builder, field, dtype) for field in fields])


def _problem(cell: str, attributes: Mapping[str, Any]) -> Recurrence:
    direction = _text(attributes.get("direction", "forward"))
    if direction not in _DIRECTIONS:
        raise UnsupportedOperatorError(f"direction {direction!r} is unknown")
    reverse = _DIRECTIONS[direction]
    return Recurrence(
        cell,
        reverse,
        _activations(cell, len(reverse), attributes),
        clip=float(attributes["clip"]) if "clip" in attributes else None,
        batch_first=bool(attributes.get("layout", 0)),
        input_forget=bool(attributes.get("input_forget", 0)),
        linear_before_reset=bool(attributes.get("linear_before_reset", 0)),
    )


def _activations(
    cell: str, directions: int, attributes: Mapping[str, Any]
) -> tuple[tuple[Activation, ...], ...]:
    """The functions of each direction; parameters go, in order, to those that take them."""
    defaults = _DEFAULTS[cell]
    names = [_text(name).lower() for name in attributes.get("activations", ())]
    names = names or list(defaults) * directions
    if len(names) != len(defaults) * directions:
        raise UnsupportedOperatorError(
            f"{len(names)} activations are given, and {len(defaults) * directions} needed"
        )
    given = {
        parameter: list(attributes.get(f"activation_{parameter}", ()))
        for parameter in ("alpha", "beta")
    }
    functions = []
    for name in names:
        if name not in _PARAMETERS:
            raise UnsupportedOperatorError(f"activation {name!r} is unknown")
        values = {
            parameter: float(given[parameter].pop(0)) if given[parameter] else default
            for parameter, default in _PARAMETERS[name].items()
        }
        functions.append(Activation(name, **values))
    count = len(defaults)
    return tuple(
        tuple(functions[first : first + count]) for first in range(0, len(functions), count)
    )


def _result_types(
    problem: Recurrence, operands: Mapping[str, Any], attributes: Mapping[str, Any]
) -> list[relax.TensorType]:
    shapes = {name: given.ty.shape for name, given in operands.items()}
    for name in ("x", "w", "r"):
        if shapes[name] is None or len(shapes[name]) != 3:
            raise UnsupportedOperatorError(f"input {name.upper()} is not of three known dimensions")
    weights = [*list(shapes["w"])[:2], *shapes["r"]]
    if not all(isinstance(size, tirx.IntImm) for size in (*weights, shapes["w"][2])):
        raise UnsupportedOperatorError("the weights' dimensions are not known")
    hidden = int(weights[-1])
    wanted = [problem.directions, problem.gates * hidden] * 2
    if [int(size) for size in weights[:4]] != wanted or hidden != int(
        attributes.get("hidden_size", hidden)
    ):
        raise UnsupportedOperatorError(
            f"weights W {list(map(int, shapes['w']))} and R {list(map(int, shapes['r']))} do not "
            f"fit {problem.directions} direction(s) of {problem.gates} gate(s)"
        )
    if any(shape is None for shape in shapes.values()):
        raise UnsupportedOperatorError("an input has no known shape")
    first, second = list(shapes["x"])[:2]
    steps, batch = (second, first) if problem.batch_first else (first, second)
    if problem.batch_first:
        every, last = (
            [batch, steps, problem.directions, hidden],
            [batch, problem.directions, hidden],
        )
    else:
        every, last = (
            [steps, problem.directions, batch, hidden],
            [problem.directions, batch, hidden],
        )
    return [relax.TensorType(shape, COMPUTED) for shape in (every, last, last)[: problem.results]]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
