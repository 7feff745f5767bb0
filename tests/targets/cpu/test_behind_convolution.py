"""Whatever stands behind a convolution means the axes that the model means.

Between convolutions tensors lie channels last. TVM's layout pass brings the axes of each operator
along; where it does not, results are of the wrong axis, and often only slightly wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees, normal

Branch = Callable[[Network, str], str]
SHAPE = (2, 6, 4, 5)


def integers(network: Network, *values: int) -> str:
    return network.constant(np.array(values, np.int64))


def over_axis(operator: str, axis: int, **more: object) -> Branch:
    """An operator with an attribute ``axis``."""
    return lambda network, x: network.apply(operator, x, axis=axis, **more)


def reduced(operator: str, axes: tuple[int, ...], keepdims: int) -> Branch:
    """A reduction whose axes are an input."""
    return lambda network, x: network.apply(
        operator, x, integers(network, *axes), keepdims=keepdims
    )


def normalized(axis: int) -> Branch:
    """A layer normalization from an axis on, its scale as large as what is normalized."""

    def branch(network: Network, x: str) -> str:
        scale, shift = (network.constant(normal(*SHAPE[axis:], seed=s)) for s in (1, 2))
        return network.apply("LayerNormalization", x, scale, shift, axis=axis)

    return branch


def with_shape(operator: str, *values: int) -> Branch:
    return lambda network, x: network.apply(operator, x, integers(network, *values))


def pooled(operator: str, axis: int) -> Branch:
    """A pooling over three axes, one of them inserted."""

    def branch(network: Network, x: str) -> str:
        volume = network.apply("Unsqueeze", x, integers(network, axis))
        return network.apply(operator, volume, kernel_shape=[1, 2, 2], pads=[0, 1, 0, 0, 0, 1])

    return branch


def gathered(axis: int) -> Branch:
    return lambda network, x: network.apply("Gather", x, integers(network, 2, 0), axis=axis)


def sliced(axis: int) -> Branch:
    return lambda network, x: network.apply(
        "Slice", x, integers(network, 1), integers(network, 3), integers(network, axis)
    )


def broadcast(operator: str, *shape: int) -> Branch:
    return lambda network, x: network.apply(
        operator, x, network.constant(np.abs(normal(*shape)) + 0.5)
    )


def summed_up(axis: int) -> Branch:
    return lambda network, x: network.apply("CumSum", x, network.constant(np.array(axis, np.int64)))


def joined(axis: int) -> Branch:
    return lambda network, x: network.apply("Concat", x, network.apply("Neg", x), axis=axis)


BRANCHES: dict[str, Branch] = {
    **{f"softmax of axis {axis}": over_axis("Softmax", axis) for axis in range(4)},
    **{f"log softmax of axis {axis}": over_axis("LogSoftmax", axis) for axis in range(4)},
    **{f"flattened at {axis}": over_axis("Flatten", axis) for axis in range(5)},
    **{f"norm of axis {axis}": over_axis("LpNormalization", axis, p=2) for axis in range(4)},
    **{
        f"{operator} of {axes}, keepdims {keep}": reduced(operator, axes, keep)
        for operator in ("ReduceMean", "ReduceMax")
        for axes in ((1,), (2,), (3,), (2, 3), (1, 2), (0, 3))
        for keep in (0, 1)
    },
    **{f"layer norm from axis {axis}": normalized(axis) for axis in range(1, 4)},
    **{f"concatenated along {axis}": joined(axis) for axis in range(4)},
    **{f"gathered along {axis}": gathered(axis) for axis in range(1, 4)},
    **{f"sliced along {axis}": sliced(axis) for axis in range(1, 4)},
    "neighbours' squares": lambda network, x: network.apply("LRN", x, size=3, alpha=2.0, bias=1.5),
    **{f"max pooling, axis {axis} inserted": pooled("MaxPool", axis) for axis in range(1, 5)},
    **{
        f"average pooling, axis {axis} inserted": pooled("AveragePool", axis)
        for axis in range(1, 5)
    },
    "words": lambda network, x: network.apply(
        "Transpose", network.apply("Reshape", x, integers(network, 2, 6, 20)), perm=[0, 2, 1]
    ),
    "one shape for another": with_shape("Reshape", 4, 3, 20),
    "shuffled channels": lambda network, x: network.apply(
        "Reshape",
        network.apply(
            "Transpose",
            network.apply("Reshape", x, integers(network, 2, 2, 3, 4, 5)),
            perm=[0, 2, 1, 3, 4],
        ),
        integers(network, *SHAPE),
    ),
    "depth to space": lambda network, x: network.apply(
        "DepthToSpace", network.apply("Concat", x, x, axis=1), blocksize=2
    ),
    "space to depth": lambda network, x: network.apply(
        "SpaceToDepth", network.apply("Concat", x, x, x, x, x, x, axis=3), blocksize=2
    ),
    "a mean per group": lambda network, x: network.apply(
        "GroupNormalization", x, network.constant(normal(2)),
        network.constant(normal(2)),
        num_groups=2,
    ),
    "a factor per channel": lambda network, x: network.apply(
        "PRelu", x, network.constant(normal(6, 1, 1))
    ),
    "expanded": with_shape("Expand", 3, 2, 6, 4, 5),
    "tiled": with_shape("Tile", 1, 2, 3, 1),
    "padded": with_shape("Pad", 0, 1, 2, 0, 0, 0, 1, 1),
    **{
        f"divided by {shape}": broadcast("Div", *shape)
        for shape in ((5,), (4, 1), (6, 1, 1), (6, 4, 5), (2, 1, 1, 1), (1, 6, 1, 5))
    },
    **{f"sum up to axis {axis}": summed_up(axis) for axis in range(4)},
    "a product of matrices": lambda network, x: network.apply(
        "MatMul", x, network.constant(normal(5, 3))
    ),
    "another image by channel": lambda network, x: network.apply(
        "Conv", network.apply("Softmax", x, axis=1), network.weight(3, 6, 2, 2)
    ),
}  # fmt: skip

NAMES = sorted(BRANCHES)


@pytest.mark.parametrize("part", range(6))
def test_operators_mean_the_axes_of_the_model(compile_for_cpu: Compile, part: int) -> None:
    network = Network()
    image = network.input(SHAPE[0], 3, *SHAPE[2:])
    convolved = network.apply("Conv", image, network.weight(SHAPE[1], 3, 1, 1))
    for name in NAMES[part::6]:
        network.output(network.apply("Identity", BRANCHES[name](network, convolved)))
    network.output(network.apply("Conv", convolved, network.weight(4, SHAPE[1], 3, 3)))
    assert_agrees(compile_for_cpu(network.model()), network)
