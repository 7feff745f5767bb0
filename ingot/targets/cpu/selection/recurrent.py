"""LSTM, GRU and RNN: a matmul of all inputs with W, then one kernel for the recurrence.

Weights are brought into the kernel's order (see ``kernels.recurrence.problem``): in NumPy where
they are constants, else by a gather when the code runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

from ingot.targets.cpu.kernels.recurrence.problem import Problem, Units, passes
from ingot.targets.cpu.kernels.recurrence.recurrence import OPTIONAL, recurrence
from ingot.targets.cpu.selection.base import Selection, Selector
from ingot.targets.cpu.selection.dimensions import Dimensions, shape_of
from ingot.targets.relax.recurrence import RECURRENCE, Recurrence, read_recurrence

Order = npt.NDArray[np.int64]


def select_recurrence(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel for a recurrent layer."""
    cell, operands = read_recurrence(call)
    hidden = int(operands["r"].ty.shape[2])
    dimensions = Dimensions()
    steps, batch = dimensions.all_of((shape_of(operands["x"]) or [])[:2])
    if cell.batch_first:
        steps, batch = batch, steps
    units = Units.choose(cell, hidden, batch, selection.cpu)
    projected = _project(selection, cell, units, operands)
    weights = [_recurrent_weights(selection, cell, units, operands["r"], gates)
               for gates in passes(cell)]  # fmt: skip
    optional = {name: operands[name] for name in OPTIONAL if name in operands}
    if "peepholes" in optional:
        order = np.concatenate([_padded(units, number) for number in range(3)])
        optional["peepholes"] = _rows(selection, optional["peepholes"], order)
    if "b" in operands and cell.cell == "GRU" and cell.linear_before_reset:
        # The candidate's second bias belongs to the product that the reset gate scales.
        optional["reset_bias"] = _rows(selection, operands["b"], _padded(units, 3 + 2))
    problem = Problem(
        cell,
        steps,
        batch,
        units,
        {name: dimensions.all_of(shape_of(given) or []) for name, given in optional.items()},
    )
    inputs = [projected, *weights, *(optional[name] for name in OPTIONAL if name in optional)]
    return selection.call(
        recurrence(problem, selection.cpu),
        cell.cell.lower(),
        inputs,
        list(call.ty.fields),
    )


def _project(
    selection: Selection, cell: Recurrence, units: Units, operands: dict[str, relax.Expr]
) -> relax.Expr:
    """Multiplies the inputs of all steps with W, and adds what biases there are."""
    builder = selection.builder
    order = units.order(range(cell.gates))
    rows = _rows(selection, operands["w"], order)
    inputs = int(operands["w"].ty.shape[2])
    columns = cell.directions * order.size
    if isinstance(rows, tvm.ir.GenericConst):
        flat = rows.value.numpy().reshape(columns, inputs)
        matrix: relax.Expr = relax.const(np.ascontiguousarray(flat.T))
    else:
        flat = builder.emit(relax.op.reshape(rows, (columns, inputs)))
        matrix = builder.emit(relax.op.permute_dims(flat, [1, 0]))
    projected = builder.emit(relax.op.matmul(operands["x"], matrix))
    if "b" not in operands:
        return projected
    bias = _bias(selection, cell, units, operands["b"], order)
    return builder.emit(relax.op.add(projected, bias))


def _bias(
    selection: Selection, cell: Recurrence, units: Units, bias: relax.Expr, order: Order
) -> relax.Expr:
    """Adds the biases of W and of R, but for one that a reset gate scales."""
    half = cell.gates * units.hidden
    second = np.where(order >= 0, order + half, -1)
    if cell.cell == "GRU" and cell.linear_before_reset:
        second = np.where(order >= 2 * units.hidden, -1, second)
    parts = [_rows(selection, bias, each) for each in (order, second)]
    columns = cell.directions * order.size
    if all(isinstance(part, tvm.ir.GenericConst) for part in parts):
        first, other = (part.value.numpy().reshape(columns) for part in parts)
        return relax.const(first + other)
    added = selection.builder.emit(relax.op.add(*parts))
    return selection.builder.emit(relax.op.reshape(added, (columns,)))


def _recurrent_weights(
    selection: Selection, cell: Recurrence, units: Units, weights: relax.Expr, gates: Sequence[int]
) -> relax.Expr:
    """Returns R as [directions, groups, hidden, gates · width] for some of the gates."""
    rows = _rows(selection, weights, units.order(gates))
    shape = (cell.directions, units.groups, len(gates) * units.width, units.hidden)
    if isinstance(rows, tvm.ir.GenericConst):
        array = rows.value.numpy().reshape(shape)
        return relax.const(np.ascontiguousarray(array.transpose(0, 1, 3, 2)))
    grouped = selection.builder.emit(relax.op.reshape(rows, shape))
    return selection.builder.emit(relax.op.permute_dims(grouped, [0, 1, 3, 2]))


def _padded(units: Units, number: int) -> Order:
    """Returns the order of one of several runs of units, padded at its end."""
    unit = np.arange(units.padded)
    return np.where(unit < units.hidden, unit + number * units.hidden, -1)


def _rows(selection: Selection, tensor: relax.Expr, order: Order) -> relax.Expr:
    """Picks rows along the second axis; -1 gives zeros."""
    if isinstance(tensor, tvm.ir.GenericConst):
        array = tensor.value.numpy()
        picked = array[:, order]
        picked[:, order < 0] = 0
        return relax.const(picked)
    builder = selection.builder
    if (order < 0).any():
        shape = [int(size) for size in tensor.ty.shape]
        zeros = relax.op.zeros((shape[0], 1, *shape[2:]), "float32")
        tensor = builder.emit(relax.op.concat([tensor, builder.emit(zeros)], axis=1))
        order = np.where(order < 0, shape[1], order)
    return builder.emit(relax.op.take(tensor, relax.const(order, "int64"), axis=1, mode="clip"))


RECURRENT_SELECTORS: dict[str, Selector] = {RECURRENCE: select_recurrence}
