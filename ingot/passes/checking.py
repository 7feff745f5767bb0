"""The numeric check of one pass, and taking back rewrites that the graph behind them magnifies.

A rewrite that rounds otherwise than what it replaces is right, and yet its results can part from
those before by more than rounding: where two nearly equal numbers are subtracted behind it. Then
the first tensor out of tolerance is computed by nodes that the pass has not touched, from tensors
that are within it. Such a rewrite is left out; where the first tensor comes from the pass itself,
the pass is wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from ingot.errors import IngotError, first_line, root_cause
from ingot.passes.base import (
    Declined,
    IngotPass,
    PassOutcome,
    ToleranceKind,
    pass_name,
    pass_tolerance,
)
from ingot.passes.difference import GraphState, compare_graphs
from ingot.passes.record import CheckResult, PassCheck, PassCheckError


@dataclasses.dataclass(frozen=True)
class Checked:
    """What a pass's check leaves.

    Attributes:
        result: The pass's result, or that of running it again without some places.
        snapshot: A copy of its model, which the next check compares with.
        check: The outcome of the check.
        left_out: What was taken back, by the node at its root, and why.
    """

    result: ir.passes.PassResult
    snapshot: ir.Model
    check: CheckResult
    left_out: Sequence[Declined] = ()


def call_pass(pass_: ir.passes.PassBase, model: ir.Model) -> ir.passes.PassResult:
    """Runs a pass.

    Raises:
        IngotError: It raised; names it.
    """
    name = pass_name(pass_)
    try:
        return pass_(model)
    except IngotError as error:
        raise type(error)(f"pass '{name}': {error}") from error
    except Exception as error:
        raise IngotError(f"pass '{name}' failed: {_described_cause(error)}") from error


def check_pass(
    pass_: ir.passes.PassBase,
    before: ir.Model,
    model: ir.Model,
    result: ir.passes.PassResult,
    check: PassCheck,
) -> Checked:
    """Compares a model with the one before a pass; takes rewrites back that are magnified.

    Args:
        pass_: The pass.
        before: The model before it; not changed.
        model: The model after it.
        result: What the pass returned.
        check: Compares models.

    Raises:
        PassCheckError: The pass changed the outputs too much.
    """
    after = model.clone()
    tolerance, name = pass_tolerance(pass_), pass_name(pass_)
    try:
        return Checked(result, after, check.compare(before, after, tolerance, pass_name=name))
    except PassCheckError as error:
        if tolerance.kind is not ToleranceKind.FLOAT_ROUNDING:
            raise
        return _without_magnified(pass_, before, after, result, check, error)


def _without_magnified(
    pass_: ir.passes.PassBase,
    before: ir.Model,
    after: ir.Model,
    result: ir.passes.PassResult,
    check: PassCheck,
    error: PassCheckError,
) -> Checked:
    """Runs the pass again without the places that lie before the tensor that is magnified."""
    places = list(result.places) if isinstance(result, PassOutcome) else []
    order = {node.name: index for index, node in enumerate(before.graph)}
    left: dict[str, str] = {}
    count = 1
    while True:
        if not _is_magnified(error, before, after):
            raise error
        reason = (
            "left as it was: it rounds otherwise, which the graph behind it magnifies in "
            f"'{error.first.tensor}' to {error.first.max_rel_error:.2g} of its largest magnitude"
        )
        if not isinstance(pass_, IngotPass) or not places:
            return _unchanged(pass_, before, check, reason)
        ancestors = _ancestors(error, before)
        ahead = [
            place
            for place in places
            if place not in left and (place in ancestors or place not in order)
        ]
        if not ahead:
            raise error
        # The nearest one first; then ever more, so that a deep model does not take long.
        nearest = sorted(ahead, key=lambda place: order.get(place, -1))[-count:]
        left.update(dict.fromkeys(nearest, reason))
        count *= 2
        again = _run_without(pass_, before, frozenset(left))
        after = again.model.clone()
        try:
            found = check.compare(before, after, pass_tolerance(pass_), pass_name=pass_name(pass_))
        except PassCheckError as next_error:
            error = next_error
            continue
        left_out = [Declined(place, why) for place, why in left.items()]
        return Checked(again, after, found, left_out)


def _run_without(
    pass_: IngotPass[Any], before: ir.Model, places: frozenset[str]
) -> ir.passes.PassResult:
    pass_.left_out = places
    try:
        return call_pass(pass_, before.clone())
    finally:
        pass_.left_out = frozenset()


def _unchanged(
    pass_: ir.passes.PassBase, before: ir.Model, check: PassCheck, reason: str
) -> Checked:
    """Leaves the whole pass out."""
    found = check.compare(before, before, pass_tolerance(pass_), pass_name=pass_name(pass_))
    left_out = [Declined(pass_name(pass_), reason)]
    return Checked(PassOutcome(before.clone(), False), before, found, left_out)


def _is_magnified(error: PassCheckError, before: ir.Model, after: ir.Model) -> bool:
    """Whether the first tensor out of tolerance comes from a node that the pass has not touched."""
    producer = _producer_name(error, after)
    difference = compare_graphs(GraphState.capture(before), GraphState.capture(after))
    return producer is not None and producer not in {*difference.added, *difference.changed}


def _producer_name(error: PassCheckError, model: ir.Model) -> str | None:
    for node in model.graph:
        if any(value.name == error.first.tensor for value in node.outputs):
            return node.name
    return None


def _ancestors(error: PassCheckError, model: ir.Model) -> set[str | None]:
    """Names of the nodes that the first tensor out of tolerance is computed from."""
    found: set[ir.Node] = set()
    waiting = [n for n in model.graph if any(v.name == error.first.tensor for v in n.outputs)]
    while waiting:
        node = waiting.pop()
        if node in found:
            continue
        found.add(node)
        waiting += node.predecessors()
    return {node.name for node in found}


def _described_cause(error: BaseException) -> str:
    """The innermost cause in one line: onnx_ir wraps a pass's error once per level of nesting."""
    cause = root_cause(error)
    said, kind = first_line(cause), type(cause).__name__
    return said if said == kind else f"{kind}: {said}"
