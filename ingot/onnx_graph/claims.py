"""What a model says of its tensors, held against the bytes that are there, before it is believed.

A file of a hundred bytes can claim a tensor of gigabytes, which shape inference and readers would
make room for. All that is checked here is arithmetic on the message: no tensor is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import onnx
import onnx_ir as ir

from ingot.errors import ModelError
from ingot.onnx_graph.text import check_text

# NumPy has no more dimensions than this, and no operator of ONNX needs as many.
MOST_DIMENSIONS = 64
_MOST_ELEMENTS = 2**63 - 1
# Of functions, which are inlined: thirty that call the next one twice would be a billion nodes.
_MOST_NODES = 1_000_000
_DEEPEST_CALLS = 100
# Attributes state something for each dimension, or a word; what reads them does not expect more.
_LONGEST_ATTRIBUTE = 65_536

# Operands that hold a value for each dimension of something, so that their length is a rank.
_PER_DIMENSION = {
    "ConstantOfShape": (0,), "Expand": (1,), "Reshape": (1,), "Resize": (3,), "Tile": (1,),
    "Unsqueeze": (1,), "Squeeze": (1,), "Upsample": (1,), "CenterCropPad": (1,),
}  # fmt: skip

_T = onnx.TensorProto
# The field that holds elements which are not raw, and how many of its entries make an element.
_FIELDS: dict[int, tuple[str, int]] = {
    _T.FLOAT: ("float_data", 1),
    _T.COMPLEX64: ("float_data", 2),
    _T.DOUBLE: ("double_data", 1),
    _T.COMPLEX128: ("double_data", 2),
    _T.INT64: ("int64_data", 1),
    _T.UINT32: ("uint64_data", 1),
    _T.UINT64: ("uint64_data", 1),
    _T.STRING: ("string_data", 1),
}


def check_claims(proto: onnx.ModelProto, name: str) -> None:
    """Checks text, ranks and sizes of all tensors and values, external data apart, and functions.

    Args:
        proto: The model.
        name: What to call it in messages.

    Raises:
        ModelError: A tensor has other data than its dimensions and type say, or no tensor can
            have the rank or the size that is claimed, or functions never end; names it.
    """
    check_text(proto, name)
    _check_functions(proto, name)
    for tensor in tensors(proto):
        _check_tensor(tensor, name)
    for graph in graphs(proto):
        declared = _check_values(graph, name)
        for node in graph.node:
            _check_ranks(node, declared, name)
            _check_attributes(node, name)
    for function in proto.functions:
        for node in function.node:
            _check_attributes(node, name)


def tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors of a model: initializers and attributes, of subgraphs and functions too."""
    for graph in graphs(proto):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    yield from attribute_tensors(proto)


def attribute_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The tensors of a model that are attributes of nodes, such as those of Constant."""
    for graph in graphs(proto):
        yield from _of_attributes(graph.node)
    for function in proto.functions:
        yield from _of_attributes(function.node)


def graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """All graphs of a model, each before those inside of it."""
    waiting = [proto.graph]
    for function in proto.functions:
        waiting += _inner(function.node)
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += _inner(graph.node)


def tensor_bytes(tensor: onnx.TensorProto, name: str) -> int:
    """How many bytes a tensor's elements take when packed, by its dimensions and type.

    Raises:
        ModelError: There is no such tensor, or it is of strings.
    """
    if tensor.data_type not in _T.DataType.values() or tensor.data_type == _T.UNDEFINED:
        raise ModelError(
            f"{name} is damaged: {_called(tensor)} is of type {tensor.data_type}, which does not "
            "exist"
        )
    if tensor.data_type == _T.STRING:
        raise ModelError(
            f"{name} is damaged: {_called(tensor)} is of strings, which have no size of their own"
        )
    return math.ceil(_elements(tensor, name) * ir.DataType(tensor.data_type).bitwidth / 8)


def _inner(nodes: Sequence[onnx.NodeProto]) -> list[onnx.GraphProto]:
    found = []
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found.append(attribute.g)
            found += attribute.graphs
    return found


def _of_attributes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                if sparse.HasField("values"):
                    yield from (sparse.values, sparse.indices)


def _check_tensor(tensor: onnx.TensorProto, name: str) -> None:
    if tensor.data_type == _T.STRING:
        expected = _elements(tensor, name)
        there, unit = len(tensor.string_data), "strings"
    else:
        expected = tensor_bytes(tensor, name)
        there, unit = len(tensor.raw_data), "bytes"
    if tensor.data_location == _T.EXTERNAL:
        return
    if tensor.data_type != _T.STRING and not tensor.HasField("raw_data"):
        field, each = _FIELDS.get(tensor.data_type, ("int32_data", 1))
        packed = ir.DataType(tensor.data_type).bitwidth < 8
        expected = expected if packed else _elements(tensor, name) * each
        there, unit = len(getattr(tensor, field)), "entries"
    if there != expected:
        raise ModelError(
            f"{name} is damaged: {_called(tensor)} of dimensions {_shown(tensor.dims)} needs "
            f"{expected:,} {unit} and has {there:,}"
        )


def _elements(tensor: onnx.TensorProto, name: str) -> int:
    dims = tensor.dims
    count = math.prod(dims)
    if len(dims) > MOST_DIMENSIONS or count > _MOST_ELEMENTS or any(size < 0 for size in dims):
        raise ModelError(
            f"{name} is damaged: {_called(tensor)} has dimensions {_shown(dims)}, which no tensor "
            "can have"
        )
    return count


def _check_functions(proto: onnx.ModelProto, name: str) -> None:
    """Checks that functions call each other in no circle, and what they come to when inlined."""
    functions = {_key(f.domain, f.name, f.overload): f for f in proto.functions}
    sizes: dict[tuple[str, str, str], int] = {}
    calling: list[tuple[str, str, str]] = []

    def inlined(nodes: Iterable[onnx.NodeProto]) -> int:
        count = 0
        for node in nodes:
            called = _key(node.domain, node.op_type, node.overload)
            count += size(called) if called in functions else 1
        return count

    def size(key: tuple[str, str, str]) -> int:
        if key in calling or len(calling) > _DEEPEST_CALLS:
            raise ModelError(
                f"{name} cannot be handled: function {key[1][:_LONGEST_NAME]!r} calls itself, or "
                f"functions call each other {_DEEPEST_CALLS} deep"
            )
        if key not in sizes:
            calling.append(key)
            sizes[key] = inlined(_all_nodes(functions[key].node))
            calling.pop()
        return sizes[key]

    for key in functions:
        size(key)
    total = sum(inlined(graph.node) for graph in graphs(proto))
    if functions and total > _MOST_NODES:
        raise ModelError(f"{name} cannot be handled: its functions come to {total:,} nodes")


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for graph in _inner([node]):
            waiting += graph.node


def _key(domain: str, operator: str, overload: str) -> tuple[str, str, str]:
    return ("" if domain == "ai.onnx" else domain, operator, overload)


def _check_values(graph: onnx.GraphProto, name: str) -> dict[str, int]:
    """Checks declared shapes; returns the lengths of vectors by name."""
    lengths = {t.name: t.dims[0] for t in graph.initializer if len(t.dims) == 1}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        known = [dim.dim_value for dim in dims if dim.dim_value > 0]
        if len(dims) > MOST_DIMENSIONS or math.prod(known) > _MOST_ELEMENTS:
            raise ModelError(
                f"{name} is damaged: value {value.name[:_LONGEST_NAME]!r} has dimensions "
                f"{_shown([dim.dim_value or -1 for dim in dims])}, which no tensor can have"
            )
        if len(dims) == 1 and known:
            lengths[value.name] = known[0]
    return lengths


def _check_attributes(node: onnx.NodeProto, name: str) -> None:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.UNDEFINED:
            raise ModelError(
                f"{name} is damaged: attribute {attribute.name[:_LONGEST_NAME]!r} of node "
                f"{node.name[:_LONGEST_NAME]!r} ({node.op_type}) is of no type"
            )
        if node.domain in ("", "ai.onnx") and node.op_type != "Constant":
            length = len(attribute.ints) + len(attribute.floats) + len(attribute.strings)
            if max(length, len(attribute.s)) > _LONGEST_ATTRIBUTE:
                raise ModelError(
                    f"{name} is damaged: attribute {attribute.name[:_LONGEST_NAME]!r} of node "
                    f"{node.name[:_LONGEST_NAME]!r} ({node.op_type}) has "
                    f"{max(length, len(attribute.s)):,} values, which no operator takes"
                )


def _check_ranks(node: onnx.NodeProto, lengths: dict[str, int], name: str) -> None:
    for position in _PER_DIMENSION.get(node.op_type, ()):
        if position >= len(node.input):
            continue
        rank = lengths.get(node.input[position], 0)
        if rank > MOST_DIMENSIONS:
            raise ModelError(
                f"{name} is damaged: node {node.name[:_LONGEST_NAME]!r} ({node.op_type}) would "
                f"make a tensor of {rank:,} dimensions"
            )


_LONGEST_NAME = 100
_MOST_SHOWN = 8


def _called(tensor: onnx.TensorProto) -> str:
    return f"weight {tensor.name[:_LONGEST_NAME]!r}" if tensor.name else "a constant"


def _shown(dims: Sequence[int]) -> str:
    text = ", ".join(f"{size}" for size in dims[:_MOST_SHOWN])
    return f"[{text}{', …' if len(dims) > _MOST_SHOWN else ''}]"
