"""Small valid models, and seeded damage to them: what a file from anywhere might say."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

T = TypeVar("T")

_HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
_MODELS = [
    "g (float[N,3,8,8] x, float[4,3,3,3] w) => (float[N,4,6,6] y) { c = Conv<kernel_shape=[3,3],"
    "strides=[1,1],pads=[0,0,0,0],group=1>(x,w) y = Relu(c) }",
    "g (float[N,4,8,8] x) => (float[N,4,4,4] y) {"
    " y = MaxPool<kernel_shape=[2,2],strides=[2,2]>(x) }",
    "g (float[2,6] x) => (float[3,4] y) <int64[2] s = {3,4}> { y = Reshape(x,s) }",
    "g (float[2,3,4] x) => (float[4,2,3] y) {"
    " a = Transpose<perm=[2,0,1]>(x) y = Softmax<axis=-1>(a) }",
    "g (float[5,4] x, int64[3] i) => (float[3,4] y) { y = Gather<axis=0>(x,i) }",
    "g (float[1,2,4,4] x) => (float[1,2,8,8] y) <float[4] s = {1.0,1.0,2.0,2.0}> {"
    ' y = Resize<mode="nearest">(x,,s) }',
    "g (float[2,4] x) => (float[2,2] a, float[2,2] b) { a, b = Split<axis=1,num_outputs=2>(x) }",
    "g (float[2,4] x) => (float[2,8] y) <int64[2] r = {1,2}> { t = Tile(x,r) y = Identity(t) }",
    "g (float[2,4] x) => (float[2,2] y) <int64[1] a = {0}, int64[1] b = {2}, int64[1] c = {1},"
    " int64[1] d = {1}> { y = Slice(x,a,b,c,d) }",
    "g (float[2,4] x) => (float[4,6] y) <int64[4] p = {1,1,1,1}> { y = Pad(x,p) }",
    "g (float[N] x) => (float[N] y) {"
    " s = Shape(x) c = ConstantOfShape<value=float[1] {2.0}>(s) y = Add(x,c) }",
    "g (int64 n) => (int64[k] y) <int64 z = {0}, int64 o = {1}> { y = Range(z,n,o) }",
    "g (float[2,3] x, bool c) => (float[2,3] y) { y = If(c) <then_branch = t () => (float[2,3] a)"
    " { a = Relu(x) }, else_branch = e () => (float[2,3] b) { b = Neg(x) }> }",
    "g (float[1] x) => (float[1] y) <int64 n = {3}, bool c = {1}> { y = Loop (n, c, x) <body = b"
    " (int64 i, bool d, float[1] v) => (bool e, float[1] w) { e = Identity(d) w = Relu(v) }> }",
    "g (float[2,6] x) => (float[2,6] y) <uint8 z = {128}, float q = {0.1}> {"
    " a = QuantizeLinear(x,q,z) y = DequantizeLinear(a,q,z) }",
    "g (float[3,1,4] x, float[1,20,4] w, float[1,20,5] r) => (float[3,1,1,5] y) {"
    " y, h, c = LSTM<hidden_size=5>(x,w,r) }",
    "g (float[1,3,4,4] x, float[3,2,3,3] w) => (float[1,2,6,6] y) {"
    " y = ConvTranspose<strides=[1,1]>(x,w) }",
    'g (float[2,3] x, float[3,4] w) => (float[2,4] y) { y = Einsum<equation="ij,jk->ik">(x,w) }',
    "g (int64[3] i) => (float[3,5] y) <int64 d = {5}, float[2] v = {0.0,1.0}> {"
    " y = OneHot<axis=-1>(i,d,v) }",
    "g (float[1,4,4,4] x) => (float[1,1,8,8] y) { y = DepthToSpace<blocksize=2>(x) }",
]
_NUMBERS = (0, 1, -1, 2, 3, 7, 65, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
_NAMES = ("", "a/b", "x[/red]", "\x1b[31m", "n" * 70_000, "é\u202e", "\n", "<script>", "\0")
_ATTRIBUTES = (
    "axis", "axes", "perm", "group", "strides", "pads", "dilations", "kernel_shape", "keepdims",
    "to", "num_outputs", "output_shape", "batch_dims", "hidden_size", "blocksize", "mode",
)  # fmt: skip
_OPERATORS = (
    "Relu", "Add", "Conv", "Reshape", "Loop", "If", "Concat", "Split", "Gather", "Nope", "",
    "MatMul", "Squeeze", "NonZero", "Unique", "ReverseSequence", "CumSum", "STFT", "GridSample",
    "RoiAlign", "Col2Im", "MaxUnpool", "GRU", "LRN", "EyeLike", "Trilu", "SequenceAt", "AffineGrid",
)  # fmt: skip


def damaged_model(seed: int) -> onnx.ModelProto:
    """One of the models with one to three things about it changed; equal for equal seeds."""
    dice = random.Random(seed)
    model: onnx.ModelProto = parser.parse_model(_HEADER + dice.choice(_MODELS))
    for _ in range(dice.randrange(1, 4)):
        try:
            dice.choice(_DAMAGES)(model, dice)
        except (ValueError, TypeError, OverflowError):
            continue  # what no message can hold
    return model


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += [a.g for node in graph.node for a in node.attribute if a.HasField("g")]


def _nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for graph in _graphs(model) for node in graph.node]


def _one(dice: random.Random, items: Sequence[T]) -> T:
    if not items:
        raise ValueError
    return items[dice.randrange(len(items))]


def _change_attribute(model: onnx.ModelProto, dice: random.Random) -> None:
    found = [a for node in _nodes(model) for a in node.attribute if not a.HasField("g")]
    attribute = _one(dice, found)
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = dice.choice(_NUMBERS)
    elif attribute.type == onnx.AttributeProto.INTS:
        kept = [*attribute.ints]
        changed = [[*kept, dice.choice(_NUMBERS)], kept[:-1], [dice.choice(_NUMBERS)] * len(kept)]
        attribute.ints[:] = dice.choice(changed)
    else:
        attribute.s = dice.choice([b"", b"x" * 100_000, b"\xff\xfe", b"ij->", b"SAME_UPPER"])


def _add_attribute(model: onnx.ModelProto, dice: random.Random) -> None:
    value = dice.choice([dice.choice(_NUMBERS), [dice.choice(_NUMBERS)] * 2, "SAME_LOWER", 1.5])
    node = _one(dice, _nodes(model))
    node.attribute.append(helper.make_attribute(dice.choice(_ATTRIBUTES), value))


def _change_weight(model: onnx.ModelProto, dice: random.Random) -> None:
    tensor = _one(dice, [tensor for graph in _graphs(model) for tensor in graph.initializer])
    array = numpy_helper.to_array(tensor).copy()
    if array.dtype.kind in "iu" and dice.random() < 0.7:
        number = np.array(dice.choice(_NUMBERS)).astype(np.int64).astype(array.dtype)
        array.reshape(-1)[dice.randrange(array.size)] = number
    else:
        kinds = (np.float32, np.int32, np.int8, np.float64)
        array = dice.choice(
            [array[..., np.newaxis], array.reshape(-1), array.reshape(-1)[:0],
             array.astype(dice.choice(kinds))]
        )  # fmt: skip
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _change_dims(model: onnx.ModelProto, dice: random.Random) -> None:
    tensor = _one(dice, [tensor for graph in _graphs(model) for tensor in graph.initializer])
    tensor.dims[:] = dice.choice([[*tensor.dims, dice.choice(_NUMBERS)], [*tensor.dims][1:]])


def _change_shape(model: onnx.ModelProto, dice: random.Random) -> None:
    graph = _one(dice, list(_graphs(model)))
    value = _one(dice, [*graph.input, *graph.output])
    kind, dims = value.type.tensor_type, value.type.tensor_type.shape.dim
    chosen = dice.randrange(5)
    if chosen == 0:
        _one(dice, dims).dim_value = dice.choice(_NUMBERS)
    elif chosen == 1:
        dims.add().dim_value = dice.choice(_NUMBERS[:8])
    elif chosen == 2:
        names = ["N", "x[/red]", "a+", "9**9**9", "(" * 300, "1/0", "N//0", "-1"]
        _one(dice, dims).dim_param = dice.choice(names)
    elif chosen == 3:
        kind.ClearField("shape")
    else:
        kind.elem_type = dice.randrange(28)


def _change_node(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _one(dice, _nodes(model))
    names = [name for n in _nodes(model) for name in (*n.input, *n.output)] + ["", "missing"]
    chosen = dice.randrange(5)
    if chosen == 0:
        node.op_type = dice.choice(_OPERATORS)
    elif chosen == 1:
        node.input[dice.randrange(len(node.input))] = dice.choice(names)
    elif chosen == 2:
        node.input.append(dice.choice(names))
    elif chosen == 3:
        node.output[dice.randrange(len(node.output))] = dice.choice(names)
    else:
        node.domain = dice.choice(["x", "ai.onnx.ml", "com.microsoft", "ai.onnx"])


def _change_order(model: onnx.ModelProto, dice: random.Random) -> None:
    graph = _one(dice, list(_graphs(model)))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    dice.shuffle(nodes)
    del graph.node[:]
    graph.node.extend(dice.choice([nodes, nodes[1:], [*nodes, *nodes[:1]]]))


def _change_versions(model: onnx.ModelProto, dice: random.Random) -> None:
    if dice.random() < 0.5:
        model.ir_version = dice.choice([0, 1, 3, 7, 11, 99])
    else:
        model.opset_import[0].version = dice.choice([0, -1, 1, 7, 9, 13, 17, 24, 99, 2**40])


def _rename(model: onnx.ModelProto, dice: random.Random) -> None:
    old = _one(dice, [name for node in _nodes(model) for name in (*node.input, *node.output)])
    new = dice.choice(_NAMES)
    for graph in _graphs(model):
        for node in graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = new if value.name == old else value.name


_DAMAGES: tuple[Callable[[onnx.ModelProto, random.Random], None], ...] = (
    _change_attribute, _change_attribute, _add_attribute, _change_weight, _change_weight,
    _change_dims, _change_shape, _change_shape, _change_node, _change_node, _change_order,
    _change_versions, _rename,
)  # fmt: skip
