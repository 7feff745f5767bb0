"""What a user is told of a model and its artifact beside whether they agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from ingot.errors import UnsupportedOperatorError
from ingot.targets.base import Target

_STANDARD = ("", "ai.onnx")
_MOST_NAMED = 12
# An artifact that is so many times as large as its model is worth a word, if by so many bytes.
_LARGER = 1.5
_LARGER_BYTES = 8 << 20
# Of a model's operations, in kernels that no schedule fits.
_UNSCHEDULED_SHARE = 0.1


def require_known_operators(model: ir.Model) -> None:
    """Refuses operators that neither ONNX nor ONNX Runtime knows, all of them at once.

    Raises:
        UnsupportedOperatorError: There are some; names each node.
    """
    known = {
        ("" if schema.domain in _STANDARD else schema.domain, schema.name)
        for schema in ort_state.get_all_operator_schema()
    }
    known |= {(function[0], function[1]) for function in model.functions}
    unknown = [
        node
        for node in model.graph.all_nodes()
        if ("" if node.domain in _STANDARD else node.domain, node.op_type) not in known
    ]
    if unknown:
        raise UnsupportedOperatorError(
            f"{_listed(unknown)}: neither Ingot nor ONNX Runtime knows this; give it as a function "
            "of the model, or replace it"
        )


def require_lowerings(model: ir.Model, target: Target) -> None:
    """Refuses operators that a target has no lowering for, all of them at once.

    Raises:
        UnsupportedOperatorError: There are some; names each node.
    """
    lacking = [
        node for node in model.graph.all_nodes() if not target.knows(node.domain, node.op_type)
    ]
    if lacking:
        raise UnsupportedOperatorError(
            f"{_listed(lacking)}: no lowering for this operator on {target.kind}; allow ONNX "
            "Runtime to run it (fallback = true), or replace it in the model"
        )


def artifact_notes(
    model_bytes: int, member_bytes: int, placement: Mapping[str, Any]
) -> tuple[str, ...]:
    """What a user should know of an artifact, a line each.

    Args:
        model_bytes: Size of the source model, external data included.
        member_bytes: Size of the artifact's members.
        placement: The manifest's ``placement``.
    """
    notes = []
    if member_bytes > _LARGER * model_bytes and member_bytes - model_bytes > _LARGER_BYTES:
        notes.append(
            f"the artifact is {member_bytes / model_bytes:.1f} times as large as the model: it "
            "stores weights in another type or layout"
        )
    cpu = placement.get("cpu", {})
    kernels: Mapping[str, Mapping[str, Any]] = cpu.get("kernels", {})
    plain = [name for name in cpu.get("unscheduled", ()) if name in kernels]
    share = _operations(kernels, plain) / max(_operations(kernels, kernels), 1)
    if share > _UNSCHEDULED_SHARE:
        notes.append(
            f"{share:.0%} of the operations are in kernels that no schedule fits, far slower than "
            f"they could be: {', '.join(plain[:_MOST_NAMED])}"
        )
    return tuple(notes)


def _operations(kernels: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> int:
    return sum((kernels[name]["operations"] or 0) * kernels[name]["calls"] for name in names)


def _listed(nodes: Sequence[ir.Node]) -> str:
    named = [
        f"{node.name!r} ({f'{node.domain}.' if node.domain else ''}{node.op_type})"
        for node in nodes[:_MOST_NAMED]
    ]
    more = f" and {len(nodes) - _MOST_NAMED} more" if len(nodes) > _MOST_NAMED else ""
    return f"{'node' if len(nodes) == 1 else 'nodes'} {', '.join(named)}{more}"
