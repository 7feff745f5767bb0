"""Reading the operands of a spelled-out attention: queries, keys, scores, probabilities, masks."""

from __future__ import annotations

import dataclasses
import math

import onnx_ir as ir

from ingot.onnx_graph.dimensions import Dimensions
from ingot.onnx_graph.matching import Unfit, commuted, producer, read_once, scalar
from ingot.passes.fusion.rewriting import Builder

Nodes = frozenset[ir.Node]
_SWAPPED = (0, 1, 3, 2)
# The longest way back from a softmax to Q K^T: two masks, a scale, a selection.
_LONGEST_WAY = 5


@dataclasses.dataclass(frozen=True)
class Scaled:
    """A value times a constant, and the nodes that multiply."""

    value: ir.Value
    scale: float
    nodes: Nodes


@dataclasses.dataclass(frozen=True)
class Scores:
    """What goes into the softmax.

    Attributes:
        product: The MatMul of queries and transposed keys.
        scale: What it is multiplied by afterwards.
        added: Values added to the scores.
        allowed: True where a key takes part; the bool says that the value is to be negated.
        nodes: All nodes up to the softmax.
    """

    product: ir.Node
    scale: float
    added: tuple[ir.Value, ...]
    allowed: tuple[ir.Value, bool] | None
    nodes: Nodes


@dataclasses.dataclass(frozen=True)
class Keys:
    """Keys as [batch, heads, sequence, size]: ``source`` transposed, unless perm is None."""

    source: ir.Value
    perm: tuple[int, ...] | None
    scale: float
    nodes: Nodes
    spared: tuple[ir.Node, ...] = ()

    def emit(self, builder: Builder) -> ir.Value:
        """The value to give to the operator."""
        if self.perm is None:
            return self.source
        dims = self.source.shape
        shape = None if dims is None else ir.Shape([dims[axis] for axis in self.perm])
        attributes = {"perm": list(self.perm)}
        return builder.node(
            "Transpose", [self.source], attributes, dtype=self.source.dtype, shape=shape
        )


def read_probabilities(value: ir.Value | None) -> tuple[ir.Node | None, Nodes]:
    """Reads a Softmax, also one whose NaN (of rows without a key) are replaced by zeros."""
    select = producer(value, "Where")
    if select is None:
        return producer(value, "Softmax"), frozenset()
    test, zero, probabilities = select.inputs
    is_nan = producer(test, "IsNaN")
    if is_nan is None or is_nan.inputs[0] is not probabilities or scalar(zero) != 0.0:
        return None, frozenset()
    return producer(probabilities, "Softmax"), frozenset({select, is_nan})


class OperandReader:
    """Reads the operands of one graph's attentions.

    Args:
        dimensions: The graph's dimensions: exporters compute the scale from the head's size.
    """

    def __init__(self, dimensions: Dimensions) -> None:
        self._dimensions = dimensions

    def scores(self, value: ir.Value | None, steps: int = _LONGEST_WAY) -> Scores | None:
        """Follows masks and scales back from the softmax to the product of queries and keys.

        Returns:
            What was found, or None if the softmax is not that of an attention.

        Raises:
            Unfit: It is, but of a kind that the operator does not compute.
        """
        node = producer(value, "MatMul", "Add", "Mul", "Div", "Where")
        if node is None or steps == 0:
            return None
        if node.op_type == "MatMul":
            return Scores(node, 1.0, (), None, frozenset({node}))
        if node.op_type == "Where":
            return self._selection(node, steps)
        if node.op_type == "Add":
            for inner_value, added in commuted(node):
                inner = self.scores(inner_value, steps - 1)
                if inner is not None:
                    masks, nodes = (*inner.added, added), inner.nodes | {node}
                    return dataclasses.replace(inner, added=masks, nodes=nodes)
            return None
        scaled = self._scaled(node.outputs[0], once=False)
        inner = None if not scaled.nodes else self.scores(scaled.value, steps - 1)
        if inner is None:
            return None
        if inner.added or inner.allowed:
            raise Unfit("its mask is scaled together with the scores")
        scale, nodes = inner.scale * scaled.scale, inner.nodes | scaled.nodes
        return dataclasses.replace(inner, scale=scale, nodes=nodes)

    def queries(self, product: ir.Node) -> Scaled:
        """Reads the left operand of the product, and its scale."""
        value = product.inputs[0]
        if value is None:
            raise Unfit("its queries are missing")
        return self._scaled(value)

    def keys(self, product: ir.Node) -> Keys:
        """Undoes the transposition of the right operand, and scaling before or after it."""
        value = product.inputs[1]
        if value is None:
            raise Unfit("its keys are missing")
        outer = self._scaled(value)
        transpose = producer(outer.value, "Transpose")
        if transpose is None or transpose.inputs[0] is None:
            return self._reshaped_keys(outer) or _transposed_back(outer)
        perm = transpose.attributes.get_ints("perm", ()) or ()
        if len(perm) != 4:
            return _transposed_back(outer)
        inner = Scaled(transpose.inputs[0], 1.0, frozenset())
        if read_once(outer.value):
            inner = self._scaled(inner.value)
        swapped = tuple(perm[axis] for axis in _SWAPPED)
        keys_perm = None if swapped == tuple(range(4)) else swapped
        scale = outer.scale * inner.scale
        if inner.nodes:  # the transpose reads what vanishes, so it vanishes too
            nodes = outer.nodes | inner.nodes | {transpose}
            return Keys(inner.value, keys_perm, scale, nodes)
        return Keys(inner.value, keys_perm, scale, outer.nodes, (transpose,))

    def _reshaped_keys(self, outer: Scaled) -> Keys | None:
        """Keys transposed by way of three dimensions, as PyTorch's exporter writes it."""
        last = producer(outer.value, "Reshape")
        transpose = None if last is None else producer(last.inputs[0], "Transpose")
        first = None if transpose is None else producer(transpose.inputs[0], "Reshape")
        if last is None or transpose is None or first is None or first.inputs[0] is None:
            return None
        before = self._dimensions.of(first.inputs[0])
        between = self._dimensions.of(first.outputs[0])
        after = self._dimensions.of(last.outputs[0])
        if before is None or between is None or after is None or len(before) != 4:
            return None
        if tuple(transpose.attributes.get_ints("perm", ()) or ()) != (0, 2, 1):
            return None
        if between[1:] != before[2:] or after != tuple(before[axis] for axis in _SWAPPED):
            return None
        spared = (last, transpose, first)
        return Keys(first.inputs[0], None, outer.scale, outer.nodes, spared)

    def _selection(self, node: ir.Node, steps: int) -> Scores | None:
        """Reads ``where(allowed, scores, -inf)``, or with the two exchanged."""
        condition, if_true, if_false = node.inputs
        for scores, fill, negated in ((if_true, if_false, False), (if_false, if_true, True)):
            low = scalar(fill)
            inner = None if low is None else self.scores(scores, steps - 1)
            if inner is None or low is None or condition is None:
                continue
            if low != -math.inf:
                # With a finite number, a row without any key averages all values; the operator
                # gives zeros for it.
                raise Unfit(f"its mask fills with {low:g}, not minus infinity")
            if inner.allowed is not None:
                raise Unfit("it selects by two masks")
            nodes = inner.nodes | {node}
            return dataclasses.replace(inner, allowed=(condition, negated), nodes=nodes)
        return None

    def _scaled(self, value: ir.Value, *, once: bool = True) -> Scaled:
        """Follows one multiplication or division by a number back, if there is one."""
        node = producer(value, "Mul", "Div")
        if node is not None and (not once or read_once(value)):
            for operand, factor in commuted(node)[: 1 if node.op_type == "Div" else 2]:
                number = self._number(factor)
                if number is None or (node.op_type == "Div" and number == 0.0):
                    continue
                scale = number if node.op_type == "Mul" else 1.0 / number
                return Scaled(operand, scale, frozenset({node}))
        return Scaled(value, 1.0, frozenset())

    def _number(self, value: ir.Value | None, steps: int = 2 * _LONGEST_WAY) -> float | None:
        """A constant, or what is computed from constants and known sizes: 1 / sqrt(head size)."""
        number = scalar(value)
        if number is not None or steps == 0:
            return number
        contents = self._dimensions.contents(value)
        if contents is not None and len(contents) == 1 and isinstance(contents[0], int):
            return float(contents[0])
        node = producer(value, "Cast", "Sqrt", "Reciprocal", "Div", "Mul")
        if node is None:
            return None
        found = [self._number(operand, steps - 1) for operand in node.inputs]
        operands = [operand for operand in found if operand is not None]
        if len(operands) < len(found):
            return None
        return _compute(node.op_type, operands)


def _compute(op_type: str, operands: list[float]) -> float | None:
    first, last = operands[0], operands[-1]
    if op_type == "Cast":
        return first
    if op_type == "Mul":
        return first * last
    if op_type == "Sqrt":
        return math.sqrt(first) if first >= 0.0 else None
    if last == 0.0:
        return None
    return first / last if op_type == "Div" else 1.0 / last


def _transposed_back(keys: Scaled) -> Keys:
    return Keys(keys.value, _SWAPPED, keys.scale, keys.nodes)
