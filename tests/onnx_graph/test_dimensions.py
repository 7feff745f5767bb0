import numpy as np
import pytest

from ingot.onnx_graph.dimensions import Dimensions
from tests.passes.fusion.harness import graph

INPUT = "(float[N,S,6] x) => (float[A,B,C] y)"
SHAPE = "shape = Shape(x)"
NUMBERS = {
    "zero": [0],
    "one": [1],
    "two": [2],
    "last": [-1],
    "to_end": [2**63 - 1],
    "index0": 0,
    "index1": 1,
    "three": 3,
    "width": [6],
    "head": [3],
    "size": [2],
    "minus": [-1, -1],
    "ones": [1, 1],
    "flat": [-1, 6],
    "split": [0, 0, 3, -1],
    "table": np.zeros((10, 6), np.float32),
}


def dims_of(name, body, signature=INPUT):
    model = graph(signature, body, NUMBERS)
    for node in model.graph:
        for output in node.outputs:
            output.shape = None  # all that is known has to be followed
    values = {v.name: v for node in model.graph for v in node.outputs}
    return Dimensions(model.graph).of(values[name])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Relu(x)", ("N", "S", 6)),
        ("y = Transpose<perm=[2,0,1]>(x)", (6, "N", "S")),
        ("y = Transpose(x)", (6, "S", "N")),
        ("row = ReduceMean(x, last) y = Add(row, x)", ("N", "S", 6)),
        ("y = Unsqueeze(x, one)", ("N", 1, "S", 6)),
        ("u = Unsqueeze(x, last) y = Squeeze(u, last)", ("N", "S", 6)),
        ("t = Transpose<perm=[0,2,1]>(x) y = MatMul(x, t)", ("N", "S", "S")),
        ("y = Reshape(x, split)", ("N", "S", 3, 2)),
        ("y = ReduceMean(x, last)", ("N", "S", 1)),
        ("y = Concat<axis=2>(x, x)", ("N", "S", 12)),
        ("y = Slice(x, zero, two, last)", ("N", "S", 2)),
        ("y = Slice(x, zero, to_end, one)", ("N", "S", 6)),
        ("y = Slice(x, one, to_end, last)", ("N", "S", 5)),
    ],
)
def test_follows_operators(body, expected):
    assert dims_of("y", body) == expected


@pytest.mark.parametrize(
    "target",
    [
        "n = Gather(shape, index0) s = Gather(shape, index1) "
        "n1 = Unsqueeze(n, zero) s1 = Unsqueeze(s, zero) t = Concat<axis=0>(n1, s1, head, size)",
        "ns = Slice(shape, zero, two, zero) t = Concat<axis=0>(ns, head, last)",
        "ns = Shape<start=0, end=2>(x) t = Concat<axis=0>(ns, head, size)",
    ],
    ids=["PyTorch: Gather and Unsqueeze", "Slice", "Shape with start and end"],
)
def test_follows_shapes_that_are_computed(target):
    assert dims_of("y", f"{SHAPE} {target} y = Reshape(x, t)") == ("N", "S", 3, 2)


def test_follows_the_expand_of_pytorch():
    body = (
        "ns = Shape<start=0, end=2>(x) open = Equal(ns, minus) target = Where(open, ones, ns) "
        "row = ReduceMax<keepdims=0>(x, last) u = ReduceMax(row, last) y = Expand(u, target)"
    )
    assert dims_of("y", body) == ("N", "S")


def test_a_reshape_there_and_back_keeps_the_dimensions():
    body = f"f = Reshape(x, flat) {SHAPE} y = Reshape(f, shape)"
    assert dims_of("y", body) == ("N", "S", 6)
    assert dims_of("f", body)[1] == 6


@pytest.mark.parametrize("offset", [False, True], ids=["BERT", "RoBERTa: from two on"])
def test_positions_as_long_as_the_sequence_broadcast_to_it(offset):
    body = "s = Shape<start=1, end=2>(x) "
    body += "end = Add(s, two) " if offset else "end = Identity(s) "
    body += f"p = Slice(table, {'two' if offset else 'zero'}, end, zero) y = Add(x, p)"
    assert dims_of("p", body) == ("min(8, S)" if offset else "min(10, S)", 6)
    assert dims_of("y", body) == ("N", "S", 6)


def test_a_range_is_as_long_as_its_limit():
    body = "l = Shape<start=1, end=2>(x) s = Squeeze(l, zero) y = Range(index0, s, index1)"
    assert dims_of("y", body) == ("S",)


def test_a_broadcast_of_two_unknown_sizes_is_a_size_of_its_own():
    signature = "(float[N,S] x, float[M,S] z) => (float[A,B] y)"
    first = dims_of("y", "y = Add(x, z)", signature)
    assert first[1] == "S"
    assert first[0] not in ("N", "M")
    assert dims_of("y", "a = Add(x, z) b = Mul(z, a) y = Add(b, x)", signature) == first


def test_symbols_of_inference_stand_for_what_was_followed():
    model = graph(
        "(float[N,S,6] x) => (float[A,B,C] y)",
        "s = Shape<start=1, end=2>(x) p = Slice(table, zero, s, zero) a = Add(x, p) "
        "c = Celu(a) y = Neg(c)",  # Celu is not followed
        NUMBERS,
    )
    dimensions = Dimensions(model.graph)
    assert dimensions.of(model.graph.node(2).outputs[0]) == ("N", "S", 6)
    assert dimensions.of(model.graph.node(3).outputs[0]) == ("N", "S", 6)
