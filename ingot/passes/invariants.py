"""What must hold of a graph after each pass, whatever the pass is.

A graph that breaks one of these would fail later, in lowering or in ONNX Runtime, with a message
that names neither the pass nor the cause. All violations raise :class:`ModelError` of one line.
"""

from __future__ import annotations

import dataclasses

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass

from ingot.errors import ModelError, first_line, root_cause

# onnx's checker serializes the model; weights above this size are left out (as onnx_ir does).
_INLINE_BYTES = 1000


@dataclasses.dataclass(frozen=True)
class Interface:
    """Names, dtypes and shapes of a model's inputs and outputs, in order."""

    inputs: tuple[_Signature, ...]
    outputs: tuple[_Signature, ...]

    @classmethod
    def of(cls, model: ir.Model) -> Interface:
        """Reads a model's interface; an input with an initializer is optional and left out."""
        inputs = [value for value in model.graph.inputs if not value.is_initializer()]
        return cls(
            tuple(map(_Signature.of, inputs)), tuple(map(_Signature.of, model.graph.outputs))
        )

    def check_kept(self, model: ir.Model) -> None:
        """Checks that the model still has this interface; an unknown shape may become known."""
        after = Interface.of(model)
        for kind, old, new in (
            ("input", self.inputs, after.inputs),
            ("output", self.outputs, after.outputs),
        ):
            if [value.name for value in old] != [value.name for value in new]:
                raise ModelError(
                    f"the graph's {kind}s were {_listed(old)} and have become {_listed(new)}"
                )
            for left, right in zip(old, new, strict=True):
                left.check_kept(kind, right)


@dataclasses.dataclass(frozen=True)
class _Signature:
    name: str | None
    dtype: ir.DataType | None
    shape: tuple[int | str | None, ...] | None

    @classmethod
    def of(cls, value: ir.Value) -> _Signature:
        shape = value.shape
        dims = None
        if shape is not None:
            dims = tuple(dim if isinstance(dim, int) else dim.value for dim in shape)
        return cls(value.name, value.dtype, dims)

    def check_kept(self, kind: str, after: _Signature) -> None:
        if self.dtype is not None and self.dtype != after.dtype:
            raise ModelError(
                f"{kind} '{self.name}' had dtype {self.dtype} and has become {after.dtype}"
            )
        if self.shape is None:
            return
        same = after.shape is not None and len(self.shape) == len(after.shape)
        if not same or any(
            left is not None and left != right
            for left, right in zip(self.shape, after.shape or (), strict=True)
        ):
            raise ModelError(
                f"{kind} '{self.name}' had shape {_dims(self.shape)} and has become "
                f"{_dims(after.shape)}"
            )


def check_graph(model: ir.Model) -> None:
    """Checks names, definitions before use, initializers and outputs of all graphs."""
    _check_scope(model.graph, frozenset())
    for function in model.functions.values():
        _check_scope(function.graph, frozenset())


def check_operators(model: ir.Model) -> None:
    """Runs onnx's checker: each operator's schema in its opset, without reading weights.

    Operators of domains that onnx does not know are not judged.
    """
    copy = model.clone()
    for value in copy.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= _INLINE_BYTES:
            value.const_value = ir.Tensor(tensor.numpy().copy(), name=tensor.name)
    for value in (*copy.graph.inputs, *copy.graph.outputs):
        if value.shape is None and isinstance(value.type, ir.TensorType):
            value.shape = ir.Shape([])  # which the checker wants, and does not look at
    try:
        CheckerPass()(copy)
    except (onnx.checker.ValidationError, ir.passes.PassError) as error:
        raise ModelError(
            f"onnx's checker refuses the graph: {first_line(root_cause(error))}"
        ) from error


def _check_scope(graph: ir.Graph, outer: frozenset[ir.Value]) -> None:
    defined = set(outer)
    names: set[str] = set()
    for value in graph.inputs:
        _define(value, "graph input", defined, names)
    for key, value in graph.initializers.items():
        if value.const_value is None:
            raise ModelError(f"initializer '{key}' has no data")
        if value not in defined:
            _define(value, "initializer", defined, names)
    for node in graph:
        label = f"node '{node.name}' ({node.op_type})"
        for used in node.inputs:
            if used is not None and used not in defined:
                raise ModelError(f"{label} reads '{used.name}', which nothing before it defines")
        for attribute in node.attributes.values():
            if attribute.is_ref():
                continue
            if attribute.type == ir.AttributeType.GRAPH:
                _check_scope(attribute.as_graph(), frozenset(defined))
            elif attribute.type == ir.AttributeType.GRAPHS:
                for subgraph in attribute.as_graphs():
                    _check_scope(subgraph, frozenset(defined))
        for value in node.outputs:
            if value.name != "":  # an optional output that is not wanted
                _define(value, label, defined, names)
    for value in graph.outputs:
        # An outer value would do for reading, but a subgraph must itself define what it returns.
        if value not in defined or value in outer:
            raise ModelError(f"output '{value.name}' of graph '{graph.name}' is not defined in it")


def _define(value: ir.Value, label: str, defined: set[ir.Value], names: set[str]) -> None:
    if value.name is None:
        raise ModelError(f"{label} has a value without a name")
    if value.name in names:
        raise ModelError(f"{label} defines '{value.name}', a name that is already taken")
    names.add(value.name)
    defined.add(value)


def _listed(values: tuple[_Signature, ...]) -> str:
    return ", ".join(f"'{value.name}'" for value in values) or "none"


def _dims(shape: tuple[int | str | None, ...] | None) -> str:
    if shape is None:
        return "unknown"
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"
