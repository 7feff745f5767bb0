"""``cleanup.constant-folding``: what is known before the model runs is computed once, here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pydantic

from ingot.passes.base import FLOAT_ROUNDING, Declined, IngotPass, PassOptions, PassOutcome
from ingot.passes.cleanup.constants import Array, constant_tensor, integers
from ingot.passes.cleanup.evaluation import CannotEvaluate, Evaluation
from ingot.passes.cleanup.purity import is_pure
from ingot.passes.cleanup.rewiring import is_used
from ingot.passes.cleanup.scopes import Scope, scopes

# Quantization must stay to be seen: a folded DequantizeLinear is a float weight again.
_KEPT = frozenset({"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"})


class ConstantFoldingOptions(PassOptions):
    """Options of ``cleanup.constant-folding``.

    Attributes:
        max_bytes: Most bytes that folding one node may add to the model: the size of its results,
            less that of constants that only this node reads.
    """

    max_bytes: pydantic.NonNegativeInt = pydantic.Field(
        default=1 << 20, description="most bytes that folding one node may add to the model"
    )


class ConstantFolding(IngotPass[ConstantFoldingOptions]):
    """Computes nodes whose inputs are all constant, and shapes that are static.

    ONNX Runtime computes them. The results become initializers of the same names; a graph's output
    becomes a Constant node, and Constant nodes become initializers, so that a constant has one
    form. Also folded are Shape and Size of static shapes, and static dimensions taken by Gather or
    Slice out of a shape that has symbolic ones.

    Random operators, quantization and control flow are never folded. Integers are exact; sums of
    floats may be taken in another order here than at run time, with other numbers of threads.
    """

    name = "cleanup.constant-folding"
    summary = "Compute operators on constants, and static shapes, ahead of time."
    options_type = ConstantFoldingOptions
    tolerance = FLOAT_ROUNDING

    def call(self, model: ir.Model) -> PassOutcome:
        """Folds in the order of execution, so that whole constant subgraphs vanish."""
        folded = 0
        declined: list[Declined] = []
        for scope in scopes(model):
            root = scope.outer[0] if scope.outer else scope.graph
            initializers = root is model.graph  # functions have none
            for node in scope.graph:
                try:
                    results = self._results(node, scope)
                except (CannotEvaluate, _TooLarge) as reason:
                    declined.append(Declined(node.name or "", str(reason)))
                    continue
                if results is not None:
                    folded += _replace(node, results, initializers=initializers)
        return PassOutcome(model, folded > 0, folded, declined)

    def _results(self, node: ir.Node, scope: Scope) -> Sequence[ir.TensorProtocol | None] | None:
        if any(attribute.is_ref() for attribute in node.attributes.values()):
            return None
        if node.domain == "" and node.op_type == "Constant":
            return [constant_tensor(node.outputs[0])]
        dims = _static_dims(node)
        if dims is not None:
            return [ir.tensor(dims)]
        if node.op_type in _KEPT or node.domain != "" or not is_pure(node, scope.opset):
            return None
        operands = [constant_tensor(value) for value in node.inputs]
        absent = [value is None for value in node.inputs]
        if all(absent) or any(
            tensor is None and not missing for tensor, missing in zip(operands, absent, strict=True)
        ):
            return None
        return self._evaluate(node, scope.opset, operands)

    def _evaluate(
        self, node: ir.Node, opset: int, operands: Sequence[ir.TensorProtocol | None]
    ) -> list[ir.TensorProtocol | None]:
        evaluation = Evaluation(node, opset, operands)
        freed = sum(
            tensor.nbytes
            for value, tensor in zip(node.inputs, operands, strict=True)
            if value is not None and tensor is not None and not _outlives(value, node)
        )
        allowed = freed + self.options.max_bytes
        expected = evaluation.result_bytes()
        if expected is not None and expected > allowed:
            raise _TooLarge(expected, freed, self.options.max_bytes)
        arrays = evaluation.run()
        actual = sum(array.nbytes for array in arrays if array is not None)
        if actual > allowed:
            raise _TooLarge(actual, freed, self.options.max_bytes)
        return [None if array is None else ir.tensor(array) for array in arrays]


class _TooLarge(Exception):  # noqa: N818 - it ends an attempt, it is no error
    def __init__(self, result: int, freed: int, allowed: int) -> None:
        super().__init__(
            f"its result of {result} bytes, in place of {freed}, would add more than "
            f"max_bytes = {allowed}"
        )


def _static_dims(node: ir.Node) -> Array | None:
    """Dimensions that the node takes out of a shape, if they are static."""
    if node.domain != "" or not node.inputs:
        return None
    known: list[int | None] | None = None
    if node.op_type == "Size":
        dims = _dims_of(node.inputs[0])
        if dims is not None and None not in dims:
            return np.asarray(np.prod([dim for dim in dims if dim is not None], dtype=np.int64))
        return None
    if node.op_type == "Shape":
        known = _shape_elements(node)
    elif node.op_type in ("Gather", "Slice"):
        source = node.inputs[0].producer() if node.inputs[0] is not None else None
        if source is None or source.op_type != "Shape" or source.domain != "":
            return None
        elements = _shape_elements(source)
        if elements is None:
            return None
        return _gathered(node, elements) if node.op_type == "Gather" else _sliced(node, elements)
    return _as_array(known)


def _shape_elements(node: ir.Node) -> list[int | None] | None:
    dims = _dims_of(node.inputs[0])
    if dims is None:
        return None
    end = node.attributes.get_int("end", len(dims))
    return dims[node.attributes.get_int("start", 0) : end]


def _gathered(node: ir.Node, elements: list[int | None]) -> Array | None:
    tensor = constant_tensor(node.inputs[1])
    if tensor is None:
        return None
    indices = tensor.numpy()
    if any(not -len(elements) <= index < len(elements) for index in indices.reshape(-1)):
        return None
    picked = _as_array([elements[index] for index in indices.reshape(-1)])
    return None if picked is None else picked.reshape(indices.shape)


def _sliced(node: ir.Node, elements: list[int | None]) -> Array | None:
    bounds = [integers(value) for value in node.inputs[1:]]
    if len(bounds) < 2 or any(bound is None or len(bound) != 1 for bound in bounds):
        return None
    start, end, *rest = (bound[0] for bound in bounds if bound is not None)
    if len(rest) > 1 and rest[1] != 1:
        return None
    return _as_array(elements[start:end])


def _as_array(dims: list[int | None] | None) -> Array | None:
    if dims is None or None in dims:
        return None
    return np.array(dims, dtype=np.int64)


def _dims_of(value: ir.Value | None) -> list[int | None] | None:
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else None for dim in value.shape]


def _outlives(value: ir.Value, node: ir.Node) -> bool:
    """Whether a constant is still there when the node is gone."""
    others = any(reader is not node for reader in value.consumers())
    return others or value.is_graph_output() or value.is_graph_input()


def _replace(
    node: ir.Node, results: Sequence[ir.TensorProtocol | None], *, initializers: bool
) -> bool:
    """Puts constants in the place of a node; False where it is a Constant that has to stay."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    stays = not initializers or node.outputs[0].is_graph_output()
    if node.op_type == "Constant" and (stays or results[0] is None):
        return False
    operands = [value for value in node.inputs if value is not None]
    for old, tensor in zip(node.outputs, results, strict=True):
        if tensor is None or not is_used(old):
            continue
        name, old.name = old.name, None
        new = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape([int(size) for size in tensor.shape.numpy()]),
            metadata_props=dict(old.metadata_props),
        )
        if initializers and not old.is_graph_output():
            tensor.name = name
            new.const_value = tensor
            graph.register_initializer(new)
        else:
            label = node.name if len(node.outputs) == 1 else f"{node.name}/{name}"
            attribute = ir.AttrTensor("value", tensor)
            graph.insert_before(
                node, ir.Node("", "Constant", [], [attribute], outputs=[new], name=label)
            )
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    _drop_unread(operands)
    return True


def _drop_unread(values: Sequence[ir.Value]) -> None:
    for value in values:
        owner = value.graph
        unread = not (is_used(value) or value.is_graph_input())
        if unread and value.is_initializer() and isinstance(owner, ir.Graph):
            owner.initializers.pop(str(value.name), None)
