"""Transposes that only a layout asked for vanish; those that rearrange something stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax, tirx

from ingot.targets.cpu.transposes import move_transposes
from tests.examples import examples
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees

Step = tuple[str, tuple[object, ...]]


_N, _H, _W = (tirx.Var(name, "int64") for name in "nhw")


def operators(shape: tuple[object, ...], *steps: Step) -> list[str]:
    """What is left of a chain of steps and an activation behind it."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    # Says what the open sizes are.
    sizes = relax.Var("sizes", relax.TensorType((_N, _H, _W), "float32"))
    with builder.function("main", [x, sizes]):
        with builder.dataflow():
            value = x
            for operator, argument in steps:
                call = (
                    relax.op.permute_dims(value, list(argument))
                    if operator == "transpose"
                    else relax.op.reshape(value, argument)
                )
                value = builder.emit(call)
            result = builder.emit_output(relax.op.nn.relu(value))
        builder.emit_func_output(result)
    found: list[str] = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call):
            found.append(expression.op.name.removeprefix("relax."))

    moved = move_transposes(builder.get())
    relax.analysis.well_formed(moved)
    relax.analysis.post_order_visit(moved["main"], visit)
    return found


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        pytest.param(
            (2, 12, 5),
            [("transpose", (0, 2, 1)), ("reshape", (2, 5, 3, 4)), ("transpose", (0, 2, 3, 1))],
            id="a sequence becomes an image channels first, then last",
        ),
        pytest.param(
            (2, 3, 4, 5),
            [("transpose", (0, 3, 1, 2)), ("reshape", (2, 5, 12)), ("transpose", (0, 2, 1))],
            id="an image channels last becomes a sequence",
        ),
        pytest.param((1, 6, 1, 4), [("transpose", (0, 2, 1, 3))], id="axes of one move"),
        pytest.param(
            (_N, _H, _W, 5),
            [
                ("transpose", (0, 3, 1, 2)),
                ("reshape", (_N, 5, _H * _W)),
                ("transpose", (0, 2, 1)),
                ("reshape", (_N * _H * _W, 5)),
            ],
            id="open sizes",
        ),
        pytest.param(
            (_N, _H * _W, 5),
            [("transpose", (0, 2, 1)), ("reshape", (_N, 5, _H, _W)), ("transpose", (0, 2, 3, 1))],
            id="an open size that is a product",
        ),
    ],
)
def test_a_chain_that_moves_nothing_is_reshapes(shape, steps) -> None:
    assert set(operators(shape, *steps)) == {"reshape", "nn.relu"}


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        pytest.param((2, 3, 4), [("transpose", (0, 2, 1))], id="a transpose"),
        pytest.param(
            (2, 12, 5),
            [("transpose", (0, 2, 1)), ("reshape", (2, 5, 4, 3)), ("transpose", (0, 3, 2, 1))],
            id="height and width change places",
        ),
        pytest.param(
            (6, 4),
            [("transpose", (1, 0)), ("reshape", (6, 4)), ("transpose", (1, 0))],
            id="a reshape across the axes",
        ),
        pytest.param(
            (_N, _H, 4),
            [("transpose", (1, 0, 2)), ("reshape", (_H * _N, 4))],
            id="open sizes that change places",
        ),
    ],
)
def test_a_chain_that_moves_something_keeps_its_transposes(shape, steps) -> None:
    assert "permute_dims" in operators(shape, *steps)


def integers(network: Network, *values: int) -> str:
    """A constant vector of 64-bit integers."""
    return network.constant(np.array(values, np.int64))


def image_of_words(network: Network, words: str, channels: int, height: int, width: int) -> str:
    """Words [1, height * width, channels] as an image channels first."""
    turned = network.apply("Transpose", words, perm=[0, 2, 1])
    shape = integers(network, 1, channels, height, width)
    return network.apply("Reshape", turned, shape)


def test_scales_are_joined_channels_last(compile_for_cpu: Compile) -> None:
    # As in a segmentation head: what is resized and concatenated was transposed from words.
    network = Network()
    images = []
    for side in (2, 4, 8):
        image = image_of_words(network, network.input(1, side * side, 6), 6, side, side)
        if side < 8:
            sizes = integers(network, 1, 6, 8, 8)
            image = network.apply("Resize", image, "", "", sizes, mode="linear")
        images.append(image)
    joined = network.apply("Concat", *images, axis=1)
    network.output(network.apply("Conv", joined, network.weight(5, 18, 1, 1)))
    compiled = compile_for_cpu(network.model())
    assert not [name for name in compiled.kernels if "transpose" in name and "resize" in name]
    assert_agrees(compiled, network)


def test_what_is_read_twice_keeps_both_forms(compile_for_cpu: Compile) -> None:
    network = Network()
    image = image_of_words(network, network.input(1, 20, 6), 6, 4, 5)
    sizes = integers(network, 1, 6, 8, 10)
    resized = network.apply("Resize", image, "", "", sizes, mode="nearest")
    network.output(network.apply("Conv", resized, network.weight(5, 6, 3, 3)))
    network.output(network.apply("Neg", resized))
    compiled = compile_for_cpu(network.model())
    assert_agrees(compiled, network)


# Each example is a compilation.
@settings(max_examples=examples(12))
@given(st.data())
def test_any_chain(compile_for_cpu: Compile, data: st.DataObject) -> None:
    network = Network()
    value, sizes = network.input(2, 3, 4, 6), [2, 3, 4, 6]
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            axes = data.draw(st.permutations(range(len(sizes))))
            value = network.apply("Transpose", value, perm=list(axes))
            sizes = [sizes[axis] for axis in axes]
        else:
            sizes = list(data.draw(st.sampled_from([(2, 12, 6), (6, 24), (2, 3, 2, 2, 6), (144,)])))
            value = network.apply("Reshape", value, integers(network, *sizes))
    network.output(network.apply("Relu", value))
    # The pass runs where there is a convolution.
    other = network.input(1, 2, 3, 3)
    network.output(network.apply("Conv", other, network.weight(2, 2, 1, 1)))
    assert_agrees(compile_for_cpu(network.model()), network)
