"""Importing an ONNX graph into Relax, and which of its nodes cannot be lowered."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir
import tvm

from ingot.errors import IngotError, UnsupportedOperatorError
from ingot.onnx_graph.source_opset import source_opset
from ingot.targets.base import Unsupported
from ingot.targets.relax.builder import CHECKS_ATTRIBUTE
from ingot.targets.relax.graph_conversion import (
    NO_LOWERING,
    STANDARD_DOMAINS,
    Converters,
    GraphImporter,
    ProbedSignal,
    tvm_converter_of,
)
from ingot.targets.relax.interface import with_names
from ingot.targets.relax.narrow_types import HELD_TYPES, unheld_type
from ingot.targets.relax.operators import CONVERTERS
from ingot.targets.relax.regions import DOMAIN as REGION_DOMAIN
from ingot.targets.relax.tvm_internals import end_open_block

_HANDLED_BY_IMPORTER = frozenset({"Constant", "If"})


def has_lowering(domain: str, operator: str) -> bool:
    """Whether there is a converter for an operator, whatever its form."""
    if operator in _HANDLED_BY_IMPORTER and domain in STANDARD_DOMAINS:
        return True
    return (domain, operator) in CONVERTERS or tvm_converter_of(domain, operator) is not None


def unsupported_nodes(model: ir.Model, converters: Converters = CONVERTERS) -> list[Unsupported]:
    """Returns the nodes that have no converter, subgraphs included, in graph order."""
    found = []
    for node in model.graph.all_nodes():
        if node.op_type in _HANDLED_BY_IMPORTER and node.domain in STANDARD_DOMAINS:
            continue
        if node.domain == REGION_DOMAIN:
            continue
        if (kind := unheld_type(node)) is not None:
            found.append(Unsupported(node.name or "", _qualified(node), f"{kind} has no lowering"))
            continue
        if (node.domain, node.op_type) in converters:
            continue
        if tvm_converter_of(node.domain, node.op_type) is None:
            found.append(Unsupported(node.name or "", _qualified(node), NO_LOWERING))
    return found


def import_graph(model: ir.Model, further: Converters | None = None) -> tvm.IRModule:
    """Imports a graph into Relax; its weights become constants of the module.

    Args:
        model: A graph whose shapes have been inferred.
        further: Converters for operators of other domains, by domain and operator.

    Returns:
        A module with one Relax function ``main`` that takes the graph's inputs in order.

    Raises:
        UnsupportedOperatorError: A node cannot be lowered, or an input has no known rank; the
            message names it.
    """
    converters = {**CONVERTERS, **(further or {})}
    if missing := unsupported_nodes(model, converters):
        raise UnsupportedOperatorError(_describe(missing, model))
    proto = _without_weights(model)
    for value in proto.graph.input:
        if not value.type.tensor_type.HasField("shape"):
            raise UnsupportedOperatorError(
                f"input {value.name!r} has no known rank: give its shape with "
                f"--shape {value.name}=SIZES"
            )
    importer = GraphImporter(model, converters)
    with _quietly(importer):
        module = importer.from_onnx(proto.graph, model.opset_imports.get("", 1))
    checks = len(importer.bb.checks)
    module["main"] = module["main"].with_attr(CHECKS_ATTRIBUTE, checks)
    return with_names(module, model.graph)


def refused_nodes(model: ir.Model, further: Converters | None = None) -> list[Unsupported]:
    """Returns every node of the main graph that cannot be lowered, with the reason, in graph order.

    Each node is tried, also those behind one that cannot be lowered: they get a tensor of the type
    that shape inference gives it. A node is refused that reads what compiled code cannot hold.

    Args:
        model: A graph whose shapes have been inferred.
        further: Converters for operators of other domains, by domain and operator.
    """
    importer = GraphImporter(model, {**CONVERTERS, **(further or {})}, trial=True)
    proto = _without_weights(model)
    held = [value for value in proto.graph.input if value.name not in importer.foreign]
    del proto.graph.input[:]
    proto.graph.input.extend(held)
    with contextlib.suppress(ProbedSignal), _quietly(importer):
        importer.from_onnx(proto.graph, model.opset_imports.get("", 1))
    return [
        Unsupported(node.name or "", _qualified(node), importer.refused[node.name or ""])
        for node in model.graph
        if node.name in importer.refused
    ]


@contextlib.contextmanager
def _quietly(importer: GraphImporter) -> Iterator[None]:
    """Keeps to itself what the importer prints and warns: what matters is in the exception."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        except (IngotError, ProbedSignal):
            # A builder that is dropped with a block open complains on standard error.
            end_open_block(importer)
            raise


def _qualified(node: ir.Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    copy = model.clone()
    copy.graph.initializers.clear()
    for value in copy.graph.inputs:
        if value.dtype is not None and value.dtype in HELD_TYPES:
            value.type = ir.TensorType(HELD_TYPES[value.dtype])
    return ir.serde.serialize_model(copy)


def _describe(missing: Sequence[Unsupported], model: ir.Model) -> str:
    opset = source_opset(model)
    kinds = sorted({entry.operator for entry in missing})
    first = missing[0]
    more = f" and {len(missing) - 1} more nodes" if len(missing) > 1 else ""
    listed = f"; operators without a lowering: {', '.join(kinds)}" if len(kinds) > 1 else ""
    return (
        f"node {first.node!r}{more}: operator {first.operator} (opset {opset}) cannot be lowered "
        f"to the CPU{listed}; replace it in the model, or run that part outside of Ingot"
    )
