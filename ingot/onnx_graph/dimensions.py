"""Which dimensions of a graph are equal, symbolic ones included.

onnx's shape inference gives a new symbol to each dimension that it cannot name, such as that of a
slice whose end is computed. Whether a mask's batch is the scores' batch then stays open in every
BERT export. This analysis follows sizes through the graph, and through the integer tensors that
exporters compute shapes with, so that equal dimensions get equal names.

A dimension is an int, or a string: the symbol of a graph input, or a name made here. Equal strings
mean equal sizes in every run that the model completes; different strings mean nothing.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

import onnx_ir as ir

from ingot.onnx_graph.matching import constant, constant_tensor
from ingot.onnx_graph.shape_contents import Dim, Dims, follow_contents

# fmt: off
_SAME_SHAPE = frozenset({
    "Abs", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "CumSum", "Dropout", "Elu",
    "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "InstanceNormalization", "IsNaN", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax",
    "Mish", "Neg", "Not", "RMSNormalization", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid",
    "Sign", "Softmax", "Softplus", "Sqrt", "Swish", "Tanh",
})
_BROADCASTING = frozenset({
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max",
    "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Where", "Xor",
})
_REDUCTIONS = frozenset({
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare",
})
# fmt: on
# Integer tensors longer than this are data, not shapes.
_LONGEST_SHAPE = 16
# Exporters write the largest integer of 32 or 64 bits for "until the end".
_TO_THE_END = 2**31 - 1


class Dimensions:
    """The dimensions of each value of a graph, as far as they can be followed."""

    def __init__(self, graph: ir.Graph) -> None:
        self._dims: dict[ir.Value, Dims] = {}
        self._contents: dict[ir.Value, Dims] = {}
        self._at_most: dict[str, Dim] = {}
        self._joined: dict[str, frozenset[str]] = {}
        self._sums: dict[str, tuple[Dim, int]] = {}
        # What inference's symbols turned out to be; those of the inputs stand for themselves.
        self._aliases: dict[str, Dim] = {
            dim.value: dim.value
            for value in graph.inputs
            for dim in value.shape or ()
            if not isinstance(dim, int) and dim.value is not None
        }
        for node in graph:
            if node.domain == "" and len(node.outputs) >= 1:
                self._visit(node)

    def of(self, value: ir.Value | None) -> Dims | None:
        """The dimensions of a value, or None if its rank is unknown."""
        if value is None:
            return None
        if value in self._dims:
            return self._dims[value]
        if value.shape is None:
            return None
        found = tuple(self._declared(value, axis) for axis in range(len(value.shape)))
        self._dims[value] = found
        return found

    def broadcast(self, left: Dim, right: Dim) -> Dim:
        """The dimension that ONNX's broadcasting makes of two."""
        if left == right or right == 1:
            return left
        if left == 1 or isinstance(right, int):
            return right
        if isinstance(left, int):
            return left
        for one, other in ((left, right), (right, left)):
            # min(n, s) broadcasts with s only where they are equal, or s is 1.
            if self._at_most.get(one) == other:
                return other
        parts = self._parts(left) | self._parts(right)
        for one in (left, right):
            if self._parts(one) == parts:
                return one
        name = f"broadcast({', '.join(sorted(parts))})"
        self._joined[name] = parts
        return name

    def _parts(self, dim: str) -> frozenset[str]:
        return self._joined.get(dim, frozenset({dim}))

    def _declared(self, value: ir.Value, axis: int) -> Dim:
        dim = value.shape[axis] if value.shape is not None else None
        if isinstance(dim, int):
            return dim
        symbol = None if dim is None else dim.value
        if symbol is None:
            return f"{value.name}[{axis}]"
        return self._aliases.get(symbol, symbol)

    def _visit(self, node: ir.Node) -> None:
        output = node.outputs[0]
        traced = self._follow_dims(node)
        if traced is not None and (output.shape is None or len(output.shape) == len(traced)):
            self._dims[output] = self._merged(output, traced)
        dims = self.of(output)
        if dims is None or len(dims) <= 1:
            contents = follow_contents(self, node)
            if contents is not None and len(contents) <= _LONGEST_SHAPE:
                self._contents[output] = contents

    def _merged(self, output: ir.Value, traced: Dims) -> Dims:
        """Traced dimensions with the sizes that inference knows; learns what its symbols are."""
        if output.shape is None:
            return traced
        dims: list[Dim] = []
        for inferred, dim in zip(output.shape, traced, strict=True):
            if isinstance(inferred, int):
                dims.append(inferred)
                continue
            if inferred.value is not None:
                self._aliases.setdefault(inferred.value, dim)
            dims.append(dim)
        return tuple(dims)

    def contents(self, value: ir.Value | None) -> Dims | None:
        """The elements of a small integer tensor, as dimensions; None if they are unknown."""
        if value is None:
            return None
        if value in self._contents:
            return self._contents[value]
        tensor = constant_tensor(value)
        if tensor is None or not tensor.dtype.is_integer() or len(tensor.shape) > 1:
            return None
        if tensor.size > _LONGEST_SHAPE:
            return None
        array = constant(value)
        return None if array is None else tuple(int(element) for element in array.reshape(-1))

    def plus(self, dim: Dim, number: int) -> Dim:
        """A dimension plus a number, such as the end of positions that start at two."""
        base, offset = self.as_sum(dim)
        offset += number
        if isinstance(base, int) or offset == 0:
            return base + offset if isinstance(base, int) else base
        name = f"{base} + {offset}"
        self._sums[name] = (base, offset)
        return name

    def as_sum(self, dim: Dim) -> tuple[Dim, int]:
        """Undoes :meth:`plus`: the dimension and the number, zero for any other dimension."""
        return self._sums.get(dim, (dim, 0)) if isinstance(dim, str) else (dim, 0)

    def _follow_dims(self, node: ir.Node) -> Dims | None:
        if node.op_type in _SAME_SHAPE:
            return self.of(node.inputs[0])
        if node.op_type in _BROADCASTING:
            return self._broadcast_all([self.of(value) for value in node.inputs])
        if node.op_type in _REDUCTIONS:
            return self._follow_reduction(node)
        follow = _FOLLOW.get(node.op_type)
        return None if follow is None else follow(self, node)

    def _broadcast_all(self, shapes: Sequence[Dims | None]) -> Dims | None:
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes):
            return None
        result: Dims = ()
        for shape in known:
            longest = max(len(result), len(shape))
            left = (1,) * (longest - len(result)) + result
            right = (1,) * (longest - len(shape)) + shape
            result = tuple(map(self.broadcast, left, right))
        return result

    def _follow_reduction(self, node: ir.Node) -> Dims | None:
        dims = self.of(node.inputs[0])
        axes = _axes(self, node)
        if dims is None or axes is None:
            return None
        reduced = {axis % len(dims) for axis in axes} if dims else set()
        if node.attributes.get_int("keepdims", 1):
            return tuple(1 if axis in reduced else dim for axis, dim in enumerate(dims))
        return tuple(dim for axis, dim in enumerate(dims) if axis not in reduced)

    def _follow_transpose(self, node: ir.Node) -> Dims | None:
        dims = self.of(node.inputs[0])
        if dims is None:
            return None
        perm = node.attributes.get_ints("perm", list(reversed(range(len(dims)))))
        return tuple(dims[axis] for axis in perm or ())

    def _follow_matmul(self, node: ir.Node) -> Dims | None:
        left, right = self.of(node.inputs[0]), self.of(node.inputs[1])
        if left is None or right is None or len(left) < 2 or len(right) < 2:
            return None
        batch = self._broadcast_all([left[:-2], right[:-2]])
        return None if batch is None else (*batch, left[-2], right[-1])

    def _follow_gemm(self, node: ir.Node) -> Dims | None:
        left, right = self.of(node.inputs[0]), self.of(node.inputs[1])
        if left is None or right is None:
            return None
        rows = left[1 if node.attributes.get_int("transA", 0) else 0]
        return rows, right[0 if node.attributes.get_int("transB", 0) else 1]

    def _follow_attention(self, node: ir.Node) -> Dims | None:
        query, value = self.of(node.inputs[0]), self.of(node.inputs[2])
        if query is None or value is None or len(query) != 4 or len(value) != 4:
            return None
        return (*query[:3], value[3])

    def _follow_gather(self, node: ir.Node) -> Dims | None:
        data, indices = self.of(node.inputs[0]), self.of(node.inputs[1])
        if data is None or indices is None or not data:
            return None
        axis = (node.attributes.get_int("axis", 0) or 0) % len(data)
        return (*data[:axis], *indices, *data[axis + 1 :])

    def _follow_unsqueeze(self, node: ir.Node) -> Dims | None:
        dims, axes = self.of(node.inputs[0]), _axes(self, node)
        if dims is None or axes is None:
            return None
        total = len(dims) + len(axes)
        new, rest = {axis % total for axis in axes}, iter(dims)
        return tuple(1 if axis in new else next(rest) for axis in range(total))

    def _follow_squeeze(self, node: ir.Node) -> Dims | None:
        dims, axes = self.of(node.inputs[0]), _axes(self, node)
        if not dims or axes is None:
            return None
        gone = {axis % len(dims) for axis in axes}
        return tuple(dim for axis, dim in enumerate(dims) if axis not in gone)

    def _follow_expand(self, node: ir.Node) -> Dims | None:
        return self._broadcast_all([self.of(node.inputs[0]), self.contents(node.inputs[1])])

    def _follow_concat(self, node: ir.Node) -> Dims | None:
        shapes = [self.of(value) for value in node.inputs]
        first = shapes[0]
        if first is None:
            return None
        axis = (node.attributes.get_int("axis", 0) or 0) % len(first)
        sizes = [None if shape is None else shape[axis] for shape in shapes]
        total: Dim = f"{node.outputs[0].name}[{axis}]"
        if all(isinstance(size, int) for size in sizes):
            total = sum(size for size in sizes if isinstance(size, int))
        return (*first[:axis], total, *first[axis + 1 :])

    def _follow_slice(self, node: ir.Node) -> Dims | None:
        dims = self.of(node.inputs[0])
        axes = self.contents(node.inputs[3]) if len(node.inputs) > 3 else None
        if dims is None or axes is None or not all(isinstance(axis, int) for axis in axes):
            return None
        result = list(dims)
        for position, axis in enumerate(int(a) % len(dims) for a in axes):
            result[axis] = self._sliced(node, position, dims[axis], f"[{axis}]")
        return tuple(result)

    def _sliced(self, node: ir.Node, position: int, size: Dim, suffix: str) -> Dim:
        unknown = f"{node.outputs[0].name}{suffix}"
        steps = self.contents(node.inputs[4]) if len(node.inputs) > 4 else (1,) * (position + 1)
        starts, ends = self.contents(node.inputs[1]), self.contents(node.inputs[2])
        if starts is None or ends is None or steps is None or steps[position] != 1:
            return unknown
        start, end = starts[position], ends[position]
        if start == 0 and isinstance(end, int) and end >= _TO_THE_END:
            return size
        base, offset = self.as_sum(end)
        if isinstance(base, str) and isinstance(size, int) and 0 <= offset < size - 1:
            if start != offset:
                return unknown
            name = f"min({size - offset}, {base})"
            self._at_most[name] = base
            return name
        if isinstance(start, int) and isinstance(end, int) and isinstance(size, int):
            return len(range(size)[start:end])
        return unknown

    def _follow_range(self, node: ir.Node) -> Dims | None:
        start, limit, step = (self.contents(value) for value in node.inputs)
        if limit is None or start != (0,) or step != (1,) or self.as_sum(limit[0])[1] < 0:
            return None  # among them a range that may be empty
        return limit

    def _follow_reshape(self, node: ir.Node) -> Dims | None:
        dims, target = self.of(node.inputs[0]), self.contents(node.inputs[1])
        if dims is None or target is None:
            return None
        keeps_zero = bool(node.attributes.get_int("allowzero", 0))
        result: list[Dim] = []
        for axis, dim in enumerate(target):
            copies = dim == 0 and not keeps_zero
            result.append(dims[axis] if copies and axis < len(dims) else dim)
        if -1 in result:
            at = result.index(-1)
            rest = _quotient(dims, result[:at] + result[at + 1 :])
            result[at] = f"{node.outputs[0].name}[{at}]" if rest is None else rest
        return tuple(result)

    def _follow_flatten(self, node: ir.Node) -> Dims | None:
        dims = self.of(node.inputs[0])
        if dims is None:
            return None
        axis = node.attributes.get_int("axis", 1) or 0
        name = node.outputs[0].name
        halves = (dims[:axis], dims[axis:])
        sizes = [_quotient(half, ()) for half in halves]
        return tuple(f"{name}[{i}]" if s is None else s for i, s in enumerate(sizes))


_Follow = Callable[[Dimensions, ir.Node], Dims | None]
_FOLLOW: dict[str, _Follow] = {
    "Attention": Dimensions._follow_attention,
    "Concat": Dimensions._follow_concat,
    "Expand": Dimensions._follow_expand,
    "Flatten": Dimensions._follow_flatten,
    "Gather": Dimensions._follow_gather,
    "Gemm": Dimensions._follow_gemm,
    "MatMul": Dimensions._follow_matmul,
    "Range": Dimensions._follow_range,
    "Reshape": Dimensions._follow_reshape,
    "Slice": Dimensions._follow_slice,
    "Squeeze": Dimensions._follow_squeeze,
    "Transpose": Dimensions._follow_transpose,
    "Unsqueeze": Dimensions._follow_unsqueeze,
}


def _axes(dimensions: Dimensions, node: ir.Node) -> tuple[int, ...] | None:
    """The axes of a node, an input in newer opsets and an attribute in older ones."""
    if "axes" in node.attributes:
        return tuple(node.attributes["axes"].as_ints())
    axes = dimensions.contents(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or not all(isinstance(axis, int) for axis in axes):
        return None
    return tuple(int(axis) for axis in axes)


def _quotient(dims: Sequence[Dim], divisors: Sequence[Dim]) -> Dim | None:
    """The one dimension that ``dims``, multiplied, are of ``divisors``; None if not just one."""
    symbols = collections.Counter(dim for dim in dims if isinstance(dim, str))
    below = collections.Counter(dim for dim in divisors if isinstance(dim, str))
    if below - symbols:
        return None
    number, by = 1, 1
    for dim in dims:
        number *= dim if isinstance(dim, int) else 1
    for dim in divisors:
        by *= dim if isinstance(dim, int) else 1
    left = list((symbols - below).elements())
    if by == 0 or number % by or len(left) > 1:
        return None
    if not left:
        return number // by
    return left[0] if number == by else None
