"""ONNX to Relax: TVM's importer, with errors that name the node and Ingot's own converters.

TVM's importer finds a converter by operator type alone; here the domain counts too, so that the
standard ``Attention`` and ONNX Runtime's operator of the same name are told apart.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import tvm
from onnx import numpy_helper
from tvm import relax, tirx

from ingot.errors import IngotError, ModelError, UnsupportedOperatorError, first_line
from ingot.targets.base import Unsupported
from ingot.targets.relax.narrow_types import (
    HELD_TYPES,
    held_array,
    node_types,
    require_movement,
    unheld_type,
)
from ingot.targets.relax.operators import CONVERTERS, Converter
from ingot.targets.relax.operators.narrow_cast import NARROW_CONVERTERS
from ingot.targets.relax.regions import DOMAIN as REGION_DOMAIN
from ingot.targets.relax.regions import call_region
from ingot.targets.relax.shape_values import shape_arithmetic, shape_slice
from ingot.targets.relax.tvm_internals import ONNXGraphImporter, end_open_block, tvm_converter
from ingot.targets.relax.types import is_foreign

_STANDARD_DOMAINS = ("", "ai.onnx")
_CONTRIB_DOMAIN = "com.microsoft"
# TVM's importer holds these under the standard operators' names but implements the contrib ones.
_CONTRIB_ONLY = frozenset({
    "Attention", "BiasGelu", "EmbedLayerNormalization", "FastGelu", "SkipLayerNormalization",
})  # fmt: skip
# Operators whose converters take a symbolic shape where a tensor of integers is asked for.
_TAKES_SHAPES = frozenset({
    "Reshape", "Resize", "ConstantOfShape", "Gather", "Slice", "Shape", "Expand", "Concat", "Equal",
    "Where", "Cast", "CastLike", "Squeeze",
})  # fmt: skip
_HANDLED_BY_IMPORTER = frozenset({"Constant", "If"})

_NO_LOWERING = "no lowering for this operator"

Converters = Mapping[tuple[str, str], Converter]


def _tvm_converter(domain: str, operator: str) -> Any:
    converter = tvm_converter(operator)
    if domain in _STANDARD_DOMAINS:
        return None if operator in _CONTRIB_ONLY else converter
    return converter if domain == _CONTRIB_DOMAIN else None


def has_lowering(domain: str, operator: str) -> bool:
    """Whether there is a converter for an operator, whatever its form."""
    if operator in _HANDLED_BY_IMPORTER and domain in _STANDARD_DOMAINS:
        return True
    return (domain, operator) in CONVERTERS or _tvm_converter(domain, operator) is not None


def unsupported_nodes(model: ir.Model, converters: Converters = CONVERTERS) -> list[Unsupported]:
    """Returns the nodes that have no converter, subgraphs included, in graph order."""
    found = []
    for node in model.graph.all_nodes():
        if node.op_type in _HANDLED_BY_IMPORTER and node.domain in _STANDARD_DOMAINS:
            continue
        if node.domain == REGION_DOMAIN:
            continue
        if (kind := unheld_type(node)) is not None:
            found.append(Unsupported(node.name or "", _qualified(node), f"{kind} has no lowering"))
            continue
        if (node.domain, node.op_type) in converters:
            continue
        if _tvm_converter(node.domain, node.op_type) is None:
            found.append(Unsupported(node.name or "", _qualified(node), _NO_LOWERING))
    return found


class _RefusedError(UnsupportedOperatorError):
    """A node that cannot be lowered.

    Attributes:
        reason: Why not, without the node's name.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Probed(Exception):  # noqa: N818 - it ends a trial, it is no error
    """Ends a trial import: every node has been visited."""


class _Importer(ONNXGraphImporter):  # type: ignore[misc]
    """TVM's importer with the lookup by domain, errors that name the node, and regions.

    Args:
        model: The graph.
        converters: Converters by domain and operator, before TVM's own.
        trial: Whether nodes that cannot be lowered are noted and stood in for, so that those behind
            them are tried too; :class:`_Probed` ends such an import.

    Attributes:
        refused: In a trial, the reasons by the node's name.
        foreign: Names of values that compiled code cannot hold.
    """

    _nodes: dict[str, relax.Expr]

    def __init__(self, model: ir.Model, converters: Converters, *, trial: bool = False) -> None:
        # TVM takes a size of zero for one that is not known.
        known = {
            value.name: list(value.shape)
            for value in model.graph.inputs
            if value.shape is not None and value.shape.is_static()
        }
        super().__init__(shape_dict=known, dtype_dict={}, keep_params_in_input=False, sanitize=True)
        self._converters = converters
        self._domains = {node.name or "": node.domain for node in model.graph.all_nodes()}
        self._types = {node.name or "": node_types(node) for node in model.graph.all_nodes()}
        self._unheld = {
            node.name or "": kind
            for node in model.graph.all_nodes()
            if (kind := unheld_type(node)) is not None
        }
        self._weights = model.graph.initializers
        self._trial = trial
        self.refused: dict[str, str] = {}
        # What nodes of the main graph compute, by name.
        self._values = {
            str(value.name): value for node in model.graph for value in node.outputs if value.name
        }
        self.foreign = {str(value.name) for value in model.graph.inputs if is_foreign(value)}
        self._source_inputs = [value for value in model.graph.inputs if not is_foreign(value)]

    def _parse_graph_initializers(self, graph: onnx.GraphProto) -> None:
        # From the graph itself: a proto holds no more than 2 GB, and none of what is external.
        del graph
        for name, value in self._weights.items():
            if self._trial and is_foreign(value):
                self.foreign.add(name)
                continue
            if value.const_value is None:
                raise ModelError(f"weight {name!r} has no data")
            # Keeps a scalar a scalar.
            array = held_array(np.asarray(value.const_value.numpy(), order="C"))
            self._nodes[name] = relax.const(tvm.runtime.tensor(array))

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """Does nothing: ``unsupported_nodes`` has been asked before."""

    def _construct_nodes(self, graph: onnx.GraphProto) -> None:
        for node in graph.node:
            if node.domain == REGION_DOMAIN:
                self._stand_in(node.op_type, node)
                continue
            try:
                self._construct(node)
            except UnsupportedOperatorError as error:
                if not self._trial:
                    raise
                self.refused[node.name] = getattr(error, "reason", str(error))
                self._stand_in(node.name, node)
        if self._trial:
            raise _Probed
        for output in graph.output:
            self._nodes[output.name] = self._as_tensor(self._nodes[output.name])

    def _construct(self, node: onnx.NodeProto) -> None:
        foreign = [name for name in node.input if name in self.foreign]
        if node.name in self._unheld:
            reason = f"{self._unheld[node.name]} has no lowering"
            raise _RefusedError(f"node {node.name!r} ({node.op_type}): {reason}", reason)
        if foreign:
            reason = f"{foreign[0]!r} is no tensor of a type and rank that compiled code knows"
            raise _RefusedError(f"node {node.name!r} ({node.op_type}): {reason}", reason)
        unranked = [name for name in node.input if name and _is_unranked(self._nodes[name])]
        if unranked:
            reason = f"the rank of {unranked[0]!r} is not known"
            raise _RefusedError(f"node {node.name!r} ({node.op_type}): {reason}", reason)
        if self._compute_on_shapes(node):
            return
        with self._shapes_as_tensors(node):
            try:
                super()._construct_nodes(onnx.GraphProto(node=[node]))
            except IngotError:
                raise
            except Exception as error:
                # The importer raises whatever its assertions, look-ups and FFI calls raise; each
                # means that this node cannot be lowered.
                raise self._cannot_be_lowered(node.name, node.op_type, first_line(error)) from error

    def _convert_subgraph(self, bb: relax.BlockBuilder, graph: onnx.GraphProto) -> relax.Expr:
        """Converts a branch node by node, as the main graph; it sees the values around it."""
        outer = dict(self._nodes)
        try:
            for weight in graph.initializer:
                array = held_array(np.asarray(numpy_helper.to_array(weight), order="C"))
                self._nodes[weight.name] = relax.const(tvm.runtime.tensor(array))
            for node in graph.node:
                self._construct(node)
            results = [self._as_tensor(self._nodes[output.name]) for output in graph.output]
            return results[0] if len(results) == 1 else bb.emit(relax.Tuple(results))
        finally:
            self._nodes = outer

    def _cannot_be_lowered(self, name: str, operator: str, reason: str) -> _RefusedError:
        return _RefusedError(
            f"node {name!r}: operator {operator} (opset {self.opset}) cannot be lowered to the "
            f"CPU: {reason}",
            reason,
        )

    def _stand_in(self, function: str, node: onnx.NodeProto) -> None:
        """Calls what runs outside of the compiled code, in a node's place."""
        values = {name: self._values[name] for name in node.output if name}
        held = [value for value in values.values() if not is_foreign(value)]
        self.foreign |= {name for name, value in values.items() if is_foreign(value)}
        arguments = [
            self._as_tensor(self._nodes[name])
            for name in node.input
            if name and name not in self.foreign
        ]
        if not held:
            return
        results = call_region(self.bb, function, arguments, held, self._symbols())
        self._nodes.update({str(v.name): r for v, r in zip(held, results, strict=True)})

    def _symbols(self) -> dict[str, tirx.Var]:
        """Returns the variables of the symbolic dimensions of the graph's inputs."""
        return {
            str(size.value): dimension
            for value in self._source_inputs
            if value.name in self._inputs and value.shape is not None
            for size, dimension in zip(
                value.shape, self._inputs[str(value.name)].ty.shape.values, strict=True
            )
            if not isinstance(size, int) and isinstance(dimension, tirx.Var)
        }

    def _compute_on_shapes(self, node: onnx.NodeProto) -> bool:
        """Computes a node whose inputs are shapes; returns whether that was possible."""
        inputs = [self._nodes[name] for name in node.input if name]
        if node.op_type == "Shape" and isinstance(inputs[0].ty, relax.TensorType):
            if inputs[0].ty.shape is None:
                return False
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            self._nodes[node.output[0]] = shape_slice(
                inputs[0].ty.shape, bounds.get("start", 0), bounds.get("end")
            )
            return True
        result = shape_arithmetic(node.op_type, inputs)
        if result is not None:
            self._nodes[node.output[0]] = result
        return result is not None

    @contextlib.contextmanager
    def _shapes_as_tensors(self, node: onnx.NodeProto) -> Iterator[None]:
        """Lets a node that takes no shapes see tensors in their place; later nodes see shapes."""
        shapes = {
            name: self._nodes[name]
            for name in node.input
            if name
            and node.op_type not in _TAKES_SHAPES
            and isinstance(self._nodes[name], relax.ShapeExpr)
        }
        self._nodes.update({name: self._as_tensor(shape) for name, shape in shapes.items()})
        yield
        self._nodes.update(shapes)

    def _as_tensor(self, expression: relax.Expr) -> relax.Expr:
        """Returns a tensor for what the importer keeps as a shape or as one of its dimensions."""
        if tvm.ir.is_prim_expr(expression):
            shape = relax.ShapeExpr([expression])
            return self.bb.emit(
                relax.op.reshape(self.bb.emit(relax.op.shape_to_tensor(shape)), relax.ShapeExpr([]))
            )
        if isinstance(expression.ty, relax.ShapeType):
            return self.bb.emit(relax.op.shape_to_tensor(expression))
        return expression

    def _convert_operator(
        self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int
    ) -> relax.Expr:
        name = attrs["tvm_custom"]["name"]
        attrs["tvm_custom"]["opset"] = opset
        domain = self._domains.get(name, "")
        types = self._types.get(name)
        try:
            if types is not None and types.has_narrow:
                if op_name in NARROW_CONVERTERS:
                    convert = NARROW_CONVERTERS[op_name]
                    return self.bb.normalize(convert(self.bb, list(inputs), attrs, types))
                require_movement(op_name)
            own = self._converters.get((domain, op_name))
            if own is not None:
                return self.bb.normalize(own(self.bb, list(inputs), attrs))
            if _tvm_converter(domain, op_name) is None:
                raise UnsupportedOperatorError(_NO_LOWERING)
            converted = super()._convert_operator(op_name, inputs, attrs, opset)
            return self.bb.normalize(_within_bounds(converted))
        except UnsupportedOperatorError as error:
            raise _RefusedError(f"node {name!r} ({op_name}): {error}", str(error)) from error
        except Exception as error:
            raise self._cannot_be_lowered(name, op_name, first_line(error)) from error


def _is_unranked(expression: Any) -> bool:
    kind = getattr(expression, "ty", None)
    return isinstance(kind, relax.TensorType) and kind.ndim < 0


def _within_bounds(expression: relax.Expr) -> relax.Expr:
    """Makes a gather read no memory outside of its data, whatever the indices.

    The importer asks for TVM's fast mode, which reads wherever an index points. The session checks
    the indices that it is given; this keeps the computed ones from reading foreign memory too.
    """
    if isinstance(expression, relax.Call) and expression.op == tvm.ir.Op.get("relax.take"):
        data, indices = expression.args
        return relax.op.take(data, indices, axis=expression.attrs.axis, mode="clip")
    return expression


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
    importer = _Importer(model, converters)
    with _quietly(importer):
        return importer.from_onnx(proto.graph, model.opset_imports.get("", 1))


def refused_nodes(model: ir.Model, further: Converters | None = None) -> list[Unsupported]:
    """Returns every node of the main graph that cannot be lowered, with the reason, in graph order.

    Each node is tried, also those behind one that cannot be lowered: they get a tensor of the type
    that shape inference gives it. A node is refused that reads what compiled code cannot hold.

    Args:
        model: A graph whose shapes have been inferred.
        further: Converters for operators of other domains, by domain and operator.
    """
    importer = _Importer(model, {**CONVERTERS, **(further or {})}, trial=True)
    proto = _without_weights(model)
    held = [value for value in proto.graph.input if value.name not in importer.foreign]
    del proto.graph.input[:]
    proto.graph.input.extend(held)
    with contextlib.suppress(_Probed), _quietly(importer):
        importer.from_onnx(proto.graph, model.opset_imports.get("", 1))
    return [
        Unsupported(node.name or "", _qualified(node), importer.refused[node.name or ""])
        for node in model.graph
        if node.name in importer.refused
    ]


@contextlib.contextmanager
def _quietly(importer: _Importer) -> Iterator[None]:
    """Keeps to itself what the importer prints and warns: what matters is in the exception."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        except (IngotError, _Probed):
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
    opset = model.opset_imports.get("", 1)
    kinds = sorted({entry.operator for entry in missing})
    first = missing[0]
    more = f" and {len(missing) - 1} more nodes" if len(missing) > 1 else ""
    listed = f"; operators without a lowering: {', '.join(kinds)}" if len(kinds) > 1 else ""
    return (
        f"node {first.node!r}{more}: operator {first.operator} (opset {opset}) cannot be lowered "
        f"to the CPU{listed}; replace it in the model, or run that part outside of Ingot"
    )
