"""Lowering of any graph: what a target cannot compile is left to ONNX Runtime, as regions.

A target is asked for the whole graph first. What it then refuses becomes regions, and it is asked
for the rest; a graph that compiles costs nothing more.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from ingot.errors import CompilationError, UnsupportedOperatorError
from ingot.targets.base import Lowered, Target, Unsupported
from ingot.targets.onnxruntime.region import EXECUTOR, RegionContent, store_model, store_part
from ingot.targets.partition import GraphRegion, find_regions
from ingot.targets.relax.regions import DOMAIN
from ingot.targets.relax.types import is_foreign
from ingot.targets.trial import failing_nodes

WHOLE = "fallback"
# Each round takes all nodes that can be seen to be refused; a second one is rare.
_MOST_ROUNDS = 6
_MOST_NAMED = 12
_TOKEN = "called"


@dataclasses.dataclass(frozen=True)
class _Divided:
    """A graph with calls in place of its regions, and the regions."""

    model: ir.Model
    regions: Sequence[RegionContent]


def lower_with_regions(
    target: Target, model: ir.Model, original: ir.Model, *, fallback: bool
) -> Lowered:
    """Lowers a graph; what the target cannot compile becomes regions.

    Args:
        target: The target.
        model: The graph as the passes left it; not changed.
        original: What ONNX Runtime is given where nothing is left to compile.
        fallback: Whether anything may be left to ONNX Runtime.

    Raises:
        UnsupportedOperatorError: Something would be left, and that is not allowed; names each node
            with the reason.
        ModelError: The target refuses the model as a whole.
    """
    refused: dict[str, Unsupported] = {}
    for _ in range(_MOST_ROUNDS):
        divided = _divide(model, refused)
        if divided is None:
            break
        try:
            lowered = target.lower(divided.model)
        except (UnsupportedOperatorError, CompilationError) as error:
            found = _refused_by(target, divided.model, error)
            if not fallback:
                raise _refusal(found or list(_all_nodes(model, str(error)).values())) from error
            refused.update({entry.node: entry for entry in found})
            if not found:
                refused.update(_all_nodes(model, str(error)))
            continue
        return _with_regions(lowered, divided.regions, refused)
    if not target.may_be_left:
        raise _refusal(list(refused.values()))
    return _alone(target, original, model, refused)


def _refused_by(target: Target, model: ir.Model, error: Exception) -> list[Unsupported]:
    found = list(target.unsupported(model))
    if not found and isinstance(error, CompilationError):
        found = failing_nodes(target, model)
    elif not found:
        raise error
    return found


def _refusal(found: Sequence[Unsupported]) -> UnsupportedOperatorError:
    named = [f"{entry.node!r} ({entry.operator}): {entry.reason}" for entry in found[:_MOST_NAMED]]
    more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    count = "a node" if len(found) == 1 else f"{len(found)} nodes"
    return UnsupportedOperatorError(
        f"{count} cannot be compiled: {'; '.join(named)}{more}; allow ONNX Runtime to run them "
        "(fallback = true), or replace them in the model"
    )


def _all_nodes(model: ir.Model, reason: str) -> dict[str, Unsupported]:
    return {
        str(node.name): Unsupported(str(node.name), node.op_type, reason) for node in model.graph
    }


def _divide(model: ir.Model, refused: Mapping[str, Unsupported]) -> _Divided | None:
    """Puts calls in the place of regions; None where nothing is left to compile."""
    copy = model.clone()
    if not refused:
        return _Divided(copy, ())
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    graph = copy.graph
    regions = find_regions(graph, refused, is_foreign)
    if sum(len(region.nodes) for region in regions) == len(graph):
        return None
    contents = [store_part(copy, region) for region in regions]
    replaced: dict[ir.Value, ir.Value] = {}
    for region in regions:
        _replace_by_call(graph, region, replaced)
    graph.sort()
    for values in (graph.inputs, graph.outputs):
        for value in [value for value in values if is_foreign(value)]:
            values.remove(value)
    for name in [n for n, v in graph.initializers.items() if not (v.uses() or v.is_graph_output())]:
        del graph.initializers[name]
    copy.opset_imports[DOMAIN] = 1
    return _Divided(copy, contents)


def _replace_by_call(
    graph: ir.Graph, region: GraphRegion, replaced: dict[ir.Value, ir.Value]
) -> None:
    """Puts a call in a region's place; ``replaced`` has what earlier ones make, by old value."""
    results = {}
    for value in region.outputs:
        if not is_foreign(value):
            results[value] = ir.Value(name=value.name, type=value.type, shape=value.shape)
            value.name = f"{value.name}/{region.name}"
    outputs = list(results.values())
    if not outputs:
        token = ir.Value(
            name=f"{region.name}/{_TOKEN}",
            type=ir.TensorType(ir.DataType.INT8),
            shape=ir.Shape([1]),
        )
        outputs.append(token)
        graph.outputs.append(token)
    inputs = [replaced.get(value, value) for value in region.inputs if not is_foreign(value)]
    replaced.update(results)
    call = ir.Node(DOMAIN, region.name, inputs, outputs=outputs, name=region.name)
    for value, result in results.items():
        value.replace_all_uses_with(result, replace_graph_outputs=True)
    for index in reversed(range(len(graph.outputs))):
        if graph.outputs[index].producer() in region.nodes:
            del graph.outputs[index]
    for node in region.nodes:
        _detach(node)
    graph.remove(region.nodes)
    graph.append(call)


def _detach(node: ir.Node) -> None:
    """Ends what a node reads, and the nodes of its subgraphs, which are no part of the graph."""
    for inner in ir.traversal.RecursiveGraphIterator(ir.GraphView((), (), nodes=[node])):
        for index in range(len(inner.inputs)):
            inner.replace_input_with(index, None)


def _with_regions(
    lowered: Lowered, contents: Sequence[RegionContent], refused: Mapping[str, Unsupported]
) -> Lowered:
    if not contents:
        return lowered
    stored = _Stored(lowered.weights)
    members = dict(lowered.members)
    for content in contents:
        members.update(content.members(stored.names(content)))
    return dataclasses.replace(
        lowered,
        members=members,
        regions={**lowered.regions, **{content.name: content.info for content in contents}},
        region_weights=stored.added,
        placement={**lowered.placement, EXECUTOR: _placement(contents, refused)},
    )


def _alone(
    target: Target, original: ir.Model, model: ir.Model, refused: Mapping[str, Unsupported]
) -> Lowered:
    """A model that ONNX Runtime runs as a whole: no code."""
    content = store_model(original, WHOLE)
    stored = _Stored({})
    return Lowered(
        code=None,
        weights={},
        info=dataclasses.replace(target.info, features=()),
        placement={EXECUTOR: _placement([content], refused or _all_nodes(model, ""))},
        stage_seconds={},
        members=content.members(stored.names(content)),
        regions={WHOLE: content.info},
        region_weights=stored.added,
    )


class _Stored:
    """The weights of an artifact; what a region shares with the code or another is there once.

    Attributes:
        added: What regions add, by name.
    """

    def __init__(self, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        self.added: dict[str, npt.NDArray[Any]] = {}
        self._known = {_content(array): name for name, array in weights.items()}

    def names(self, content: RegionContent) -> dict[str, str]:
        """Returns under which names a region's weights are stored; adds those that are new."""
        names = {}
        for name, array in content.weights.items():
            key = _content(array)
            if key not in self._known:
                self._known[key] = f"{content.name}/{name}"
                self.added[self._known[key]] = array
            names[name] = self._known[key]
        return names


def _content(array: npt.NDArray[Any]) -> tuple[str, tuple[int, ...], bytes]:
    digest = hashlib.sha256(array.reshape(-1).view("uint8").data).digest()
    return array.dtype.name, array.shape, digest


def _placement(
    contents: Sequence[RegionContent], refused: Mapping[str, Unsupported]
) -> dict[str, Any]:
    return {
        "executor": EXECUTOR,
        "nodes": sum(len(content.info.nodes) for content in contents),
        "regions": [content.name for content in contents],
        "left": [
            {"node": entry.node, "operator": entry.operator, "reason": entry.reason}
            for entry in refused.values()
        ],
    }
