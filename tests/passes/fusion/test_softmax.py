import pytest

from ingot.passes.fusion import FuseSoftmax
from tests.passes.fusion.harness import fuse, graph, leave, operators

SIGNATURE = "(float[N,3,S,5] x) => (float[N,3,S,5] y)"


def detour(operator="Softmax", flatten="axis=3", softmax="axis=-1", shape_of="x", opset=23):
    return graph(
        SIGNATURE,
        f"s = Shape({shape_of}) f = Flatten<{flatten}>(x) p = {operator}<{softmax}>(f) "
        "y = Reshape(p, s)",
        opset=opset,
    )


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("flatten", ["axis=3", "axis=-1"])
@pytest.mark.parametrize("softmax", ["axis=-1", "axis=1"])
def test_goes_back_to_one_softmax(operator, flatten, softmax):
    model = detour(operator, flatten, softmax)
    fuse(FuseSoftmax, model)
    assert operators(model) == [operator]


def test_a_shape_that_something_else_reads_stays():
    model = graph(
        "(float[N,3,S,5] x) => (float[N,3,S,5] y, int64[4] s)",
        "s = Shape(x) f = Flatten<axis=3>(x) p = Softmax<axis=-1>(f) y = Reshape(p, s)",
    )
    fuse(FuseSoftmax, model)
    assert sorted(operators(model)) == ["Shape", "Softmax"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (detour(flatten="axis=2"), "several axes"),
        (detour(softmax="axis=0"), "another axis"),
        (detour(opset=12), "needs opset 13"),
        (
            graph(
                "(float[N,3,S,5] x) => (float[N,3,S,5] y, float[M,5] p)",
                "s = Shape(x) f = Flatten<axis=3>(x) p = Softmax<axis=-1>(f) y = Reshape(p, s)",
            ),
            "is an output of the graph",
        ),
    ],
)
def test_leaves(model, reason):
    leave(FuseSoftmax, model, reason)


def test_does_not_see_a_pattern_in_a_reshape_to_another_shape():
    model = graph(
        "(float[4,3] x, float[2,6] other) => (float[2,6] y)",
        "s = Shape(other) f = Flatten<axis=1>(x) p = Softmax<axis=-1>(f) y = Reshape(p, s)",
    )
    leave(FuseSoftmax, model)
