"""Each convolution is described once; the first family of the table that takes it has it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import relax, tirx

from ingot.targets.cpu.families import CONVOLUTIONS
from ingot.targets.cpu.kernels.tiling.axes import Window
from ingot.targets.cpu.selection.base import Selection
from ingot.targets.cpu.selection.convolution import Convolution, Declined, convolution_of
from tests.targets.cpu.processors import AVX2

N = tirx.Var("n", "int64")
HEIGHT = tirx.Var("height", "int64")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution of images [batch, height, width, channels]."""

    image: tuple[Any, ...] = (1, 9, 8, 16)
    filters: int = 24
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    dtype: str = "float32"
    known: bool = True
    layout: str = "NHWC"

    def call(self, builder: relax.BlockBuilder, image: relax.Expr) -> relax.Call:
        shape = (*self.kernel, int(self.image[3]) // self.groups, self.filters)
        weights: relax.Expr = relax.const(np.ones(shape, self.dtype))
        if not self.known:
            weights = relax.op.add(weights, weights)
        call = relax.op.nn.conv2d(
            image, builder.emit(weights) if not self.known else weights,
            strides=list(self.strides), padding=list(self.padding), dilation=list(self.dilation),
            groups=self.groups, data_layout=self.layout,
            kernel_layout="HWIO", out_dtype="int32" if self.dtype == "int16" else self.dtype,
        )  # fmt: skip
        return builder.normalize(call)


def families(layer: Layer) -> tuple[str | None, dict[str, str]]:
    """The family that takes a layer, and what those before it say of it."""
    stored = "uint8" if layer.dtype == "int16" else layer.dtype
    values = relax.Var("values", relax.TensorType(layer.image, stored))
    builder = relax.BlockBuilder()
    reasons: dict[str, str] = {}
    taken = None
    with builder.function("main", [values]):
        with builder.dataflow():
            image: relax.Expr = values
            definitions: dict[relax.Var, relax.Expr] = {}
            if layer.dtype == "int16":
                widened = relax.op.astype(values, "int16")
                image = builder.emit(widened)
                definitions[image] = widened
            convolution = convolution_of(layer.call(builder, image))
            if isinstance(convolution, Declined):
                reasons["all"] = convolution.reason
            else:
                selection = Selection(builder, AVX2, definitions.get, lambda _: 1)
                for name, rule in CONVOLUTIONS:
                    selected = rule(selection, convolution)
                    if not isinstance(selected, Declined):
                        taken = name
                        break
                    reasons[name] = selected.reason
            result = builder.emit_output(relax.op.add(values, values))
        builder.emit_func_output(result)
    return taken, reasons


INTEGERS = Layer(dtype="int16")


@pytest.mark.parametrize(
    ("layer", "family"),
    [
        pytest.param(Layer(), "convolution", id="any other"),
        pytest.param(Layer(image=(N, 9, 8, 16)), "convolution", id="of an open batch"),
        pytest.param(Layer(groups=2), "convolution", id="in wide groups"),
        pytest.param(Layer(groups=16, filters=32), "grouped_convolution", id="in narrow groups"),
        pytest.param(Layer(groups=16, filters=16), "depthwise", id="of one filter per channel"),
        pytest.param(Layer(kernel=(1, 1)), "matmul", id="of one tap"),
        pytest.param(Layer(kernel=(1, 1), strides=(2, 2)), "matmul", id="of one tap, in steps"),
        pytest.param(Layer(kernel=(1, 1), padding=(0, 0, 0, 1)), "convolution", id="1x1, padded"),
        pytest.param(Layer(kernel=(1, 1), groups=2), "convolution", id="1x1 in groups"),
        pytest.param(Layer(image=(1, HEIGHT, 8, 16)), "open_convolution", id="of open height"),
        pytest.param(Layer(image=(1, HEIGHT, 8, 16), groups=16, filters=32), "open_convolution",
                     id="of open height, of two filters per channel"),
        pytest.param(INTEGERS, "integer_convolution", id="of integers"),
        pytest.param(dataclasses.replace(INTEGERS, kernel=(1, 1)), "integer_matmul",
                     id="of integers, of one tap"),
    ],
)  # fmt: skip
def test_the_table_decides(layer: Layer, family: str) -> None:
    assert families(layer)[0] == family


@pytest.mark.parametrize(
    ("layer", "family", "reason"),
    [
        (Layer(), "integer_convolution",
         "its image was made neither of 8-bit integers nor of bfloat16"),
        (Layer(), "matmul", "it is more than a product with each pixel, or with some in a row"),
        (Layer(), "depthwise", "not every channel has one filter of its own"),
        (Layer(image=(1, HEIGHT, 8, 16)), "convolution", "its image's size is open"),
        (Layer(image=(1, HEIGHT, 8, 16), groups=16, filters=16), "open_convolution",
         "each channel has one filter of its own"),
        (dataclasses.replace(INTEGERS, image=(1, HEIGHT, 8, 16)), "integer_convolution",
         "its image's size is open"),
        (INTEGERS, "integer_matmul", "it is more than a product with each pixel"),
        (Layer(known=False), "all", "its weights are not known"),
        (Layer(image=(1, 16, 9, 16), layout="NCHW"), "all", "its channels are not last"),
        (Layer(dtype="float16"), "all", "there are no kernels for float16 and float16"),
    ],
)  # fmt: skip
def test_who_declines_says_why(layer: Layer, family: str, reason: str) -> None:
    assert families(layer)[1][family] == reason


@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    groups=st.sampled_from([1, 2, 8]),
    batch=st.sampled_from([1, 3, N]),
)
def test_a_description_says_all_of_a_call(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int, int, int],
    groups: int,
    batch: int | tirx.Var,
) -> None:
    layer = Layer(
        (batch, 10, 11, 8), 24, kernel, strides, padding, dilation, groups, dtype="float32"
    )
    builder = relax.BlockBuilder()
    image = relax.Var("image", relax.TensorType(layer.image, "float32"))
    with builder.function("main", [image]):
        convolution = convolution_of(layer.call(builder, image))
        builder.emit_func_output(image)
    assert isinstance(convolution, Convolution)
    problem = convolution.problem
    assert problem.window == Window(kernel, strides, padding[:2], dilation)
    assert (problem.groups, problem.channels, problem.filters) == (
        groups,
        8 // groups,
        24 // groups,
    )
    assert problem.images == (batch if isinstance(batch, int) else None)
    assert problem.padded == any(padding)
    height, width = problem.axes()
    for axis, size, before, after in zip(
        (height, width), (10, 11), padding[:2], padding[2:], strict=True
    ):
        span = (axis.kernel - 1) * axis.dilation + 1
        assert (axis.size, axis.padding) == (size, before)
        assert axis.result == (size + before + after - span) // axis.stride + 1
    assert problem.size == (height.result, width.result)
