"""Node by node from ONNX to Relax: TVM's importer with Ingot's own converters.

TVM's importer finds a converter by operator type alone; here the domain counts too, so that the
standard ``Attention`` and ONNX Runtime's operator of the same name are told apart. What is computed
from shapes alone is evaluated on the way, and errors name the node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import tvm
from onnx import numpy_helper
from tvm import relax, tirx

from ingot.errors import IngotError, ModelError, UnsupportedOperatorError
from ingot.onnx_graph.source_opset import source_opset
from ingot.targets.relax.broadcasting import BROADCASTING, broadcast_operands
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import at_least, different, is_number, shape_of
from ingot.targets.relax.graph_inputs import input_types
from ingot.targets.relax.narrow_types import (
    held_array,
    node_types,
    require_movement,
    unheld_type,
)
from ingot.targets.relax.operators import KNOWN_CONVERTERS, Converter
from ingot.targets.relax.operators.narrow import NARROW_CONVERTERS
from ingot.targets.relax.regions import DOMAIN as REGION_DOMAIN
from ingot.targets.relax.regions import call_region
from ingot.targets.relax.shape_values import Known, evaluate, known_of
from ingot.targets.relax.tvm_internals import (
    Inputs,
    ONNXGraphImporter,
    plain_reason,
    tvm_converter,
)
from ingot.targets.relax.types import is_foreign
from ingot.targets.relax.value_checks import require_of_sizes

STANDARD_DOMAINS = ("", "ai.onnx")
_CONTRIB_DOMAIN = "com.microsoft"
# TVM's importer holds these under the standard operators' names but implements the contrib ones.
_CONTRIB_ONLY = frozenset({
    "Attention", "BiasGelu", "EmbedLayerNormalization", "FastGelu", "SkipLayerNormalization",
})  # fmt: skip
# Operators that give a sequence or an optional: a tuple that is one value.
_GIVES_ONE_TUPLE = frozenset({
    "ConcatFromSequence", "Optional", "OptionalGetElement", "SequenceConstruct", "SequenceEmpty",
    "SequenceErase", "SequenceInsert", "SplitToSequence",
})  # fmt: skip
_CHECK = "ingot.check."

NO_LOWERING = "no lowering for this operator"

Converters = Mapping[tuple[str, str], Converter]


def tvm_converter_of(domain: str, operator: str) -> Any:
    """Returns TVM's converter of an operator of a domain, None without one."""
    converter = tvm_converter(operator)
    if domain in STANDARD_DOMAINS:
        return None if operator in _CONTRIB_ONLY else converter
    return converter if domain == _CONTRIB_DOMAIN else None


class RefusedError(UnsupportedOperatorError):
    """A node that cannot be lowered.

    Attributes:
        reason: Why not, without the node's name.
    """

    def __init__(self, message: str, reason: str) -> None:
        """Takes the whole message, and the reason alone."""
        super().__init__(message)
        self.reason = reason


class ProbedSignal(Exception):  # noqa: N818 - it ends a trial, it is no error
    """Ends a trial import: every node has been visited."""


class GraphImporter(ONNXGraphImporter):  # type: ignore[misc]
    """TVM's importer with the lookup by domain, known shapes, errors that name nodes, and regions.

    A value is a Relax expression, or what is known of it where it is computed from shapes alone.

    Args:
        model: The graph.
        converters: Converters by domain and operator, before TVM's own.
        trial: Whether nodes that cannot be lowered are noted and stood in for, so that those behind
            them are tried too; :class:`ProbedSignal` ends such an import.

    Attributes:
        refused: In a trial, the reasons by the node's name.
        foreign: Names of values that compiled code cannot hold.
    """

    def __init__(self, model: ir.Model, converters: Converters, *, trial: bool = False) -> None:
        super().__init__(shape_dict={}, dtype_dict={}, keep_params_in_input=False, sanitize=True)
        self.bb = Builder()
        self._converters = converters
        self._domains = {node.name or "": node.domain for node in model.graph.all_nodes()}
        self._types = {node.name or "": node_types(node) for node in model.graph.all_nodes()}
        self._unheld = {
            node.name or "": kind
            for node in model.graph.all_nodes()
            if (kind := unheld_type(node)) is not None
        }
        self._source_opset = source_opset(model)
        self._weights = model.graph.initializers
        self._nodes: dict[str, Any] = {}
        self._tensors: dict[str, relax.Expr] = {}
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

    def _parse_graph_input(self, graph: onnx.GraphProto) -> None:
        given = [value for value in graph.input if value.name not in self._nodes]
        for name, kind in input_types(given).items():
            self._inputs[name] = relax.Var(self._sanitize_name(name), kind)
            self._nodes[name] = self._inputs[name]
        self._num_input = len(given)

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
            raise ProbedSignal
        for output in graph.output:
            self._nodes[output.name] = self._tensor(output.name)
        # Only what a function returns is kept: so it returns the outcome of checks as well.
        for check in self.bb.checks:
            name = f"{_CHECK}{len(self._nodes)}"
            graph.output.add().name = name
            self._nodes[name] = check

    def _construct(self, node: onnx.NodeProto) -> None:
        foreign = [name for name in node.input if name in self.foreign]
        if node.name in self._unheld:
            reason = f"{self._unheld[node.name]} has no lowering"
            raise RefusedError(f"node {node.name!r} ({node.op_type}): {reason}", reason)
        if foreign:
            reason = f"{foreign[0]!r} is no tensor of a type and rank that compiled code knows"
            raise RefusedError(f"node {node.name!r} ({node.op_type}): {reason}", reason)
        unranked = [name for name in node.input if name and _is_unranked(self._nodes[name])]
        if unranked:
            reason = f"the rank of {unranked[0]!r} is not known"
            raise RefusedError(f"node {node.name!r} ({node.op_type}): {reason}", reason)
        attributes = self._parse_attr(node.attribute)
        attributes["tvm_custom"] = {"name": node.name, "num_outputs": len(node.output)}
        self.bb.node = f"node {node.name!r} ({node.op_type})"
        with self._errors_named(node.name, node.op_type):
            results = self._convert(node, attributes)
        # What a node gives beyond the outputs that are asked for is dropped.
        self._nodes.update(zip(node.output, results, strict=False))

    def _convert(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Sequence[Any]:
        if node.op_type == "If":
            return self._convert_if(node, attributes)
        values = [self._nodes[name] if name else None for name in node.input]
        if node.domain in STANDARD_DOMAINS:
            known = evaluate(node.op_type, values, attributes)
            if known is not None:
                if node.op_type in ("Div", "Mod"):
                    self._require_divisors(known_of(values[1]))
                return known
        if (node.domain, node.op_type) not in KNOWN_CONVERTERS:
            values = [self._tensor(name) if name else None for name in node.input]
            if node.op_type in BROADCASTING:
                values = broadcast_operands(self.bb, values)
        converted = self._convert_operator(node.op_type, Inputs(values), attributes, self.opset)
        return self._outputs_of(node.op_type, converted)

    def _require_divisors(self, divisors: Known | None) -> None:
        """Has it checked that sizes to divide by are not zero."""
        if divisors is None or divisors.is_float:
            return
        for divisor in divisors.flat:
            if not at_least(divisor, 1):
                require_of_sizes(self.bb, different(divisor, 0), "division by zero")

    def _convert_operator(
        self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int
    ) -> relax.Expr:
        name = attrs["tvm_custom"]["name"]
        attrs["tvm_custom"]["opset"] = opset
        domain = self._domains.get(name, "")
        types = self._types.get(name)
        if types is not None and types.has_narrow:
            if op_name in NARROW_CONVERTERS:
                convert = NARROW_CONVERTERS[op_name]
                return self.bb.normalize(convert(self.bb, list(inputs), attrs, types))
            require_movement(op_name)
        own = self._converters.get((domain, op_name))
        if own is not None:
            return self.bb.normalize(own(self.bb, list(inputs), attrs))
        if tvm_converter_of(domain, op_name) is None:
            raise UnsupportedOperatorError(NO_LOWERING)
        return self.bb.normalize(super()._convert_operator(op_name, inputs, attrs, opset))

    @contextlib.contextmanager
    def _errors_named(self, name: str, operator: str) -> Iterator[None]:
        try:
            yield
        except RefusedError:
            raise
        except UnsupportedOperatorError as error:
            raise RefusedError(f"node {name!r} ({operator}): {error}", str(error)) from error
        except IngotError:
            raise
        except Exception as error:
            # The importer raises whatever its assertions, look-ups and FFI calls raise; each
            # means that this node cannot be lowered.
            reason = plain_reason(error)
            raise RefusedError(
                f"node {name!r}: operator {operator} (opset {self._source_opset}) cannot be "
                f"lowered to the CPU: {reason}",
                reason,
            ) from error

    def _outputs_of(self, operator: str, converted: relax.Expr) -> Sequence[Any]:
        if operator in _GIVES_ONE_TUPLE:
            return [converted]
        if isinstance(converted, relax.Tuple):
            return [self._with_sizes(field) for field in converted]
        if isinstance(converted.ty, relax.TupleType):
            count = len(converted.ty.fields)
            parts = [self.bb.emit(relax.TupleGetItem(converted, i)) for i in range(count)]
            return [self._with_sizes(part) for part in parts]
        return [self._with_sizes(converted)]

    def _with_sizes(self, value: relax.Expr) -> relax.Expr:
        """Gives each dimension of a tensor a name where only the number of them is known.

        A tensor without elements is no longer computed: TVM's index arithmetic would divide by 0.
        """
        kind = value.ty
        if not isinstance(kind, relax.TensorType):
            return value
        if kind.shape is not None and any(is_number(size, 0) for size in shape_of(value)):
            return self.bb.emit(relax.op.zeros(kind.shape, kind.dtype))
        if kind.shape is not None or kind.ndim < 0:
            return value
        sizes = [tirx.Var(f"size_of_{axis}", "int64") for axis in range(kind.ndim)]
        return self.bb.match_cast(value, relax.TensorType(sizes, kind.dtype))

    def _convert_if(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Sequence[Any]:
        known = known_of(self._nodes[node.input[0]])
        if known is not None and known.is_constant:
            return self._branch(attributes["then_branch" if known.scalar() else "else_branch"])
        outcomes = []
        outside = self.bb.taken
        condition = self._tensor(node.input[0])
        try:
            for name in ("then_branch", "else_branch"):
                self.bb.taken = self._taken(outside, condition, name == "then_branch")
                values = self._branch(attributes[name])
                outcome = values[0] if len(values) == 1 else relax.Tuple(values)
                outcomes.append(relax.SeqExpr(blocks=[], body=outcome))
        finally:
            self.bb.taken = outside
        result = self.bb.emit(relax.If(condition, *outcomes))
        return self._outputs_of(node.op_type, result)

    def _taken(self, outside: relax.Expr | None, condition: relax.Expr, wanted: bool) -> relax.Expr:
        """Returns whether a branch is taken, and what it is in."""
        emit = self.bb.emit
        taken = emit(relax.op.reshape(condition, (1,)))
        taken = taken if wanted else emit(relax.op.logical_not(taken))
        return taken if outside is None else emit(relax.op.logical_and(outside, taken))

    def _branch(self, graph: onnx.GraphProto) -> list[relax.Expr]:
        """Builds a branch in place, and returns its outputs as tensors."""
        outside, tensors = dict(self._nodes), dict(self._tensors)
        try:
            for weight in graph.initializer:
                array = held_array(np.asarray(numpy_helper.to_array(weight), order="C"))
                self._nodes[weight.name] = relax.const(tvm.runtime.tensor(array))
                self._tensors.pop(weight.name, None)
            for node in graph.node:
                self._construct(node)
            return [self._tensor(output.name) for output in graph.output]
        finally:
            self._nodes, self._tensors = outside, tensors

    def _tensor(self, name: str) -> relax.Expr:
        """Returns a value as a tensor; what is known of it is made one, once."""
        value = self._nodes[name]
        if not isinstance(value, Known):
            return value
        if name not in self._tensors:
            self._tensors[name] = self.bb.tensor_of(value)
        return self._tensors[name]

    def _stand_in(self, function: str, node: onnx.NodeProto) -> None:
        """Calls what runs outside of the compiled code, in a node's place."""
        values = {name: self._values[name] for name in node.output if name}
        held = [value for value in values.values() if not is_foreign(value)]
        self.foreign |= {name for name, value in values.items() if is_foreign(value)}
        arguments = [self._tensor(name) for name in node.input if name and name not in self.foreign]
        if not held:
            return
        results = call_region(self.bb, function, arguments, held, self._symbols())
        sized = [self._with_sizes(result) for result in results]
        self._nodes.update({str(v.name): r for v, r in zip(held, sized, strict=True)})

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


def _is_unranked(value: Any) -> bool:
    kind = getattr(value, "ty", None)
    return isinstance(kind, relax.TensorType) and kind.ndim < 0
