"""Recurrent layers: the ONNX operators ``LSTM``, ``GRU`` and ``RNN``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import (
    Size,
    as_expression,
    described,
    equal,
    plain,
    simplified,
)
from ingot.targets.relax.operators.narrower_floats import COMPUTED, as_computed, as_given
from ingot.targets.relax.recurrence import Activation, Recurrence, recurrence_call
from ingot.targets.relax.value_checks import require_between

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


def lstm(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``LSTM``; see :func:`_convert`."""
    return _convert("LSTM", builder, inputs, attributes)


def gru(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``GRU``; see :func:`_convert`."""
    return _convert("GRU", builder, inputs, attributes)


def rnn(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``RNN``; see :func:`_convert`."""
    return _convert("RNN", builder, inputs, attributes)


def _convert(
    cell: str, builder: Builder, inputs: Sequence[Any], attributes: Mapping[str, Any]
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
    sizes = _Sizes.of(problem, operands, attributes)
    _check(builder, problem, operands, sizes)
    dtype = str(operands["x"].ty.dtype)
    operands = {
        name: given if name == "lengths" else as_computed(builder, given)
        for name, given in operands.items()
    }
    call = builder.emit(recurrence_call(problem, operands, sizes.results(problem)))
    fields = [builder.emit(relax.TupleGetItem(call, at)) for at in range(problem.results)]
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


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """The sizes of a layer; steps and batch may be open."""

    steps: Size
    batch: Size
    inputs: int
    hidden: int

    @classmethod
    def of(
        cls, problem: Recurrence, operands: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> _Sizes:
        shapes = {name: operands[name].ty.shape for name in ("x", "w", "r")}
        for name, shape in shapes.items():
            if shape is None or len(shape) != 3:
                raise UnsupportedOperatorError(
                    f"input {name.upper()} is not of three known dimensions"
                )
        inputs, hidden = (plain(shapes[name][2]) for name in ("w", "r"))
        if not (isinstance(inputs, int) and isinstance(hidden, int)):
            raise UnsupportedOperatorError("the weights' dimensions are not known")
        if hidden != int(attributes.get("hidden_size", hidden)):
            raise UnsupportedOperatorError(f"the weights are of {hidden} hidden units")
        leading = list(shapes["x"])[:2]
        steps, batch = reversed(leading) if problem.batch_first else leading
        return cls(steps, batch, inputs, hidden)

    def state(self, problem: Recurrence) -> list[Size]:
        """The dimensions of a state of all sequences."""
        leading = [problem.directions, self.batch]
        return [*(reversed(leading) if problem.batch_first else leading), self.hidden]

    def operands(self, problem: Recurrence) -> dict[str, list[Size]]:
        """The dimensions that each operand has to have."""
        leading = [self.steps, self.batch]
        rows = problem.gates * self.hidden
        state = self.state(problem)
        return {
            "x": [*(reversed(leading) if problem.batch_first else leading), self.inputs],
            "w": [problem.directions, rows, self.inputs],
            "r": [problem.directions, rows, self.hidden],
            "b": [problem.directions, 2 * rows],
            "lengths": [self.batch],
            "initial_h": state,
            "initial_c": state,
            "peepholes": [problem.directions, 3 * self.hidden],
        }

    def results(self, problem: Recurrence) -> list[relax.TensorType]:
        """The types of the results."""
        last = self.state(problem)
        if problem.batch_first:
            every = [self.batch, self.steps, problem.directions, self.hidden]
        else:
            every = [self.steps, *last]
        return [relax.TensorType(shape, COMPUTED) for shape in (every, last, last)][
            : problem.results
        ]


def _check(
    builder: Builder, problem: Recurrence, operands: dict[str, relax.Expr], sizes: _Sizes
) -> None:
    """Checks the operands' sizes and the lengths, some of them when the model runs."""
    for name, wanted in sizes.operands(problem).items():
        if name not in operands:
            continue
        shape = operands[name].ty.shape
        if shape is None or len(shape) != len(wanted):
            raise UnsupportedOperatorError(f"its {name} is not of {len(wanted)} known dimensions")
        for axis, (size, other) in enumerate(zip(shape, wanted, strict=True)):
            builder.require(
                equal(size, other),
                f"dimension {axis} of its {name} is {described(size)}, not {described(other)}",
            )
    x = operands["x"]
    *leading, inputs = x.ty.shape
    if not isinstance(plain(inputs), int):
        known = relax.TensorType([*leading, sizes.inputs], x.ty.dtype)
        operands["x"] = builder.match_cast(x, known)
    if "lengths" in operands:
        if str(operands["lengths"].ty.dtype) != "int32":
            raise UnsupportedOperatorError("the sequences' lengths are not of int32")
        if builder.taken is not None:
            raise UnsupportedOperatorError("in a branch the sequences' lengths cannot be checked")
        beyond = simplified(as_expression(sizes.steps) + 1)
        message = "a sequence's length {0} is not one from 0 to {3}"
        require_between(builder, operands["lengths"], [(0, beyond)], message)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
