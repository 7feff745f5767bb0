"""How a fusion changes a graph: the base of the fusion passes.

A fusion replaces a region of nodes, whose last node is the root, by new nodes that compute the
root's output. The passes say only what matches and what to build; that a region is closed (nothing
outside of it reads a value inside of it), names, initializers and opsets are seen to here, once.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.edits import Names, add_initializer
from ingot.onnx_graph.matching import Unfit
from ingot.passes.base import Declined, IngotPass, PassOptions, PassOutcome

OptionsT = TypeVar("OptionsT", bound=PassOptions)


@dataclasses.dataclass(frozen=True)
class Fusion:
    """A place in a graph where a pass applies.

    Attributes:
        root: The node whose first output the new nodes compute.
        region: The nodes that vanish; the root is among them.
        build: Makes the new nodes and returns the value that stands for the root's output; may
            find that it cannot, and raise Unfit.
        spared: Nodes that vanish too, unless something outside of the region reads them.
        anchor: The node that the new nodes take their names from; the root by default.
        opset: The version of ONNX's operator set that the new operators need.
        operator: The operator that needs this opset, for the reason when it is not there.
    """

    root: ir.Node
    region: Collection[ir.Node]
    build: Callable[[Builder], ir.Value]
    spared: Sequence[ir.Node] = ()
    anchor: ir.Node | None = None
    opset: int = 1
    operator: str = ""


class Builder:
    """Makes the nodes and initializers that replace a region.

    Attributes:
        nodes: What was made so far, in order.
    """

    def __init__(self, graph: ir.Graph, names: Names, anchor: ir.Node) -> None:
        self.nodes: list[ir.Node] = []
        self._initializers: list[ir.Value] = []
        self._graph = graph
        self._names = names
        self._anchor = anchor

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | Sequence[ir.Attr] = (),
        *,
        dtype: ir.DataType | None = None,
        shape: ir.Shape | None = None,
    ) -> ir.Value:
        """Adds a node with one output.

        Args:
            op_type: An operator of ONNX's default domain.
            inputs: Its inputs; None for an optional one that is left out.
            attributes: Name to Python value, or ready attributes.
            dtype: The output's element type, where it is known.
            shape: The output's shape, where it is known.

        Returns:
            The output.
        """
        return self.node_of_several(op_type, inputs, [dtype], [shape], attributes)[0]

    def node_of_several(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        dtypes: Sequence[ir.DataType | None],
        shapes: Sequence[ir.Shape | None],
        attributes: Mapping[str, Any] | Sequence[ir.Attr] = (),
    ) -> list[ir.Value]:
        """Adds a node with several outputs, described by their types and shapes; see ``node``."""
        anchor = self._anchor.name or self._anchor.outputs[0].name or op_type
        keeps_name = self._anchor.op_type == op_type
        name = self._names.fresh(anchor if keeps_name else f"{anchor}/{op_type}")
        if isinstance(attributes, Mapping):
            attributes = ir.convenience.convert_attributes(attributes)
        outputs = [
            ir.Value(
                name=self._names.fresh(f"{name}_output"),
                type=None if dtype is None else ir.TensorType(dtype),
                shape=shape,
            )
            for dtype, shape in zip(dtypes, shapes, strict=True)
        ]
        node = ir.Node("", op_type, inputs, attributes, outputs=outputs, name=name)
        node.metadata_props.update(self._anchor.metadata_props)
        self.nodes.append(node)
        return outputs

    def initializer(self, wanted: str, array: npt.NDArray[Any]) -> ir.Value:
        """Adds an initializer to the graph, named ``wanted`` or nearly so."""
        added = add_initializer(self._graph, self._names, wanted, array)
        self._initializers.append(added)
        return added

    def discard(self) -> None:
        """Takes back what was added to the graph; the nodes were not yet."""
        for node in self.nodes:
            for position in range(len(node.inputs)):
                node.replace_input_with(position, None)
        for value in self._initializers:
            self._graph.initializers.pop(value.name or "")


class FusionPass(IngotPass[OptionsT], abc.ABC):
    """Base of the fusion passes: walks the graphs and applies what ``match`` finds.

    Functions of the model are left alone: ingest has inlined them.

    Attributes:
        candidates: Operators of the nodes that ``match`` is asked about.
        domains: The domains that these operators are of.
        forward: Whether to walk from inputs to outputs. The other way finds the largest of
            patterns that contain each other, such as hard-swish before its hard sigmoid.
    """

    candidates: ClassVar[frozenset[str]]
    domains: ClassVar[frozenset[str]] = frozenset({""})
    forward: ClassVar[bool] = False

    @abc.abstractmethod
    def match(self, node: ir.Node) -> Fusion | None:
        """Finds the fusion that ``node`` decides, if there is one.

        Returns:
            The fusion, or None where the node has nothing of the pattern.

        Raises:
            Unfit: The pattern is there in outline, but it must be left; carries the reason.
        """

    def prepare(self, graph: ir.Graph) -> None:
        """Called before each walk over a graph; a pass that analyses whole graphs does it here."""

    def call(self, model: ir.Model) -> PassOutcome:
        """Applies the fusion wherever it matches, until it matches nowhere."""
        names = Names(model)
        opset = model.opset_imports.get("", 1)
        places: list[str] = []
        while True:
            declined: list[Declined] = []
            found = [
                p for graph in model.graphs() for p in self._walk(graph, names, opset, declined)
            ]
            places += found
            if not found:
                return PassOutcome(model, bool(places), len(places), declined, places)

    def _walk(
        self, graph: ir.Graph, names: Names, opset: int, declined: list[Declined]
    ) -> list[str]:
        """Applies the fusion where it matches; returns the names of the roots."""
        self.prepare(graph)
        places = []
        for node in list(graph) if self.forward else list(reversed(graph)):
            removed_meanwhile = node.graph is not graph
            if removed_meanwhile or node.op_type not in self.candidates:
                continue
            if node.domain not in self.domains:
                continue
            if node.name in self.left_out:
                continue
            try:
                fusion = self.match(node)
                if fusion is None:
                    continue
                _require_opset(fusion, opset)
                _require_closed(fusion)
                root = fusion.root.name or ""
                _apply(graph, fusion, names)
            except Unfit as unfit:
                declined.append(Declined(node.name or "", str(unfit)))
                continue
            places.append(root)
        return places


def _require_opset(fusion: Fusion, opset: int) -> None:
    if opset < fusion.opset:
        raise Unfit(f"{fusion.operator} needs opset {fusion.opset}, the model has {opset}")


def _require_closed(fusion: Fusion) -> None:
    for node in fusion.region:
        if node.graph is not fusion.root.graph:
            raise Unfit(f"'{node.name}', a part of the pattern, lies outside of the branch")
        for value in _inner_values(node, fusion):
            if value.is_graph_output():
                raise Unfit(f"'{value.name}', inside of the pattern, is an output of the graph")
            for reader in value.consumers():
                if reader not in fusion.region:
                    raise Unfit(
                        f"'{value.name}', inside of the pattern, is also read by '{reader.name}'"
                    )


def _inner_values(node: ir.Node, fusion: Fusion) -> Iterator[ir.Value]:
    yield from node.outputs[1:] if node is fusion.root else node.outputs


def _apply(graph: ir.Graph, fusion: Fusion, names: Names) -> None:
    anchor = fusion.anchor or fusion.root
    names.free(anchor.name)
    builder = Builder(graph, names, anchor)
    try:
        old, new = fusion.root.outputs[0], fusion.build(builder)
    except Unfit:
        builder.discard()
        raise
    names.free(new.name)
    name, new.type, new.shape = old.name, old.type, old.shape
    new.metadata_props.update(old.metadata_props)
    graph.insert_before(fusion.root, builder.nodes)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    leaves = {value for node in fusion.region for value in node.inputs if value is not None}
    graph.remove(list(fusion.region), safe=True)
    for node in fusion.spared:
        if node.graph is graph and not any(v.uses() or v.is_graph_output() for v in node.outputs):
            leaves.update(value for value in node.inputs if value is not None)
            graph.remove(node, safe=True)
    new.name = name
    _drop_unread(leaves)


def _drop_unread(values: Collection[ir.Value]) -> None:
    """Removes initializers that only the region read: large weights must not pile up."""
    for value in values:
        owner = value.graph
        if (
            owner is not None
            and value.is_initializer()
            and not value.is_graph_input()
            and not value.is_graph_output()
            and not value.uses()
        ):
            owner.initializers.pop(value.name or "")
