"""Where the elements of feature maps lie, and what lies outside."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.runtime.npu.command_stream.decode import CommandError
from ingot.runtime.npu.command_stream.memory import Memory
from ingot.runtime.npu.command_stream.registers import FeatureMap, Layout, Span

SIZE = 4096


def memory(size: int = SIZE) -> Memory:
    return Memory({1: np.zeros(size, np.uint8), 0: np.zeros(16, np.uint8)}, frozenset({0}))


def dense(shape: tuple[int, int, int], dtype: str, base: int = 0) -> FeatureMap:
    """A feature map without tiles, NHWC."""
    height, width, depth = shape
    size = np.dtype(dtype).itemsize
    strides = (width * depth * size, depth * size, size)
    return FeatureMap(
        "IFM", 1, (base, 0, 0, 0), height, height, width, strides, np.dtype(dtype), Layout.NHWC, 0
    )


def bricks(shape: tuple[int, int, int], dtype: str, base: int = 0) -> FeatureMap:
    """A feature map without tiles, NHCWB16."""
    _, width, depth = shape
    brick = 16 * np.dtype(dtype).itemsize
    strides = (-(-depth // 16) * width * brick, brick, width * brick)
    return dataclasses.replace(dense(shape, dtype, base), strides=strides, layout=Layout.NHCWB16)


def numbered(shape: tuple[int, int, int], dtype: str) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 40))


@given(shapes, st.sampled_from(["i1", "u1", "<i2", "<i4"]), st.integers(0, 3))
def test_dense_maps_are_arrays(shape, dtype, base):
    values = numbered(shape, dtype)
    behind = memory()
    behind.write(dense(shape, dtype, base), values)
    stored = behind.regions[1][base : base + values.nbytes]
    assert stored.tobytes() == values.tobytes()
    np.testing.assert_array_equal(behind.read(dense(shape, dtype, base), shape), values)


@given(shapes, st.sampled_from(["i1", "<i2", "<i4"]))
def test_bricks_hold_16_channels_of_a_row(shape, dtype):
    height, width, depth = shape
    values = numbered(shape, dtype)
    behind = memory()
    behind.write(bricks(shape, dtype, 16), values)
    count = -(-depth // 16)
    size = np.dtype(dtype).itemsize
    stored = behind.regions[1][16 : 16 + height * count * width * 16 * size].view(dtype)
    stored = stored.reshape(height, count, width, 16)
    for channel in range(depth):
        np.testing.assert_array_equal(
            stored[:, channel // 16, :, channel % 16], values[:, :, channel]
        )
    np.testing.assert_array_equal(behind.read(bricks(shape, dtype, 16), shape), values)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_tiles_meet_at_their_sizes(height0, height1, width0, in_bricks):
    shape = (5, 5, 18)
    whole = (bricks if in_bricks else dense)(shape, "i1")
    each = 800
    tiled = dataclasses.replace(
        whole,
        bases=(0, each, 2 * each, 3 * each),
        height0=height0,
        height1=height1,
        width0=width0,
    )
    values = numbered(shape, "i1")
    behind = memory()
    behind.write(tiled, values)
    corners = (
        (0, slice(0, height0), slice(0, width0)),
        (1, slice(0, height1), slice(width0, 5)),
        (2, slice(height0, 5), slice(0, width0)),
        (3, slice(height1, 5), slice(width0, 5)),
    )
    for tile, rows, columns in corners:
        part = values[rows, columns]
        if part.size:
            alone = dataclasses.replace(whole, bases=(tile * each, 0, 0, 0))
            np.testing.assert_array_equal(behind.read(alone, part.shape), part)
    np.testing.assert_array_equal(behind.read(tiled, shape), values)


def test_negative_strides_reverse():
    shape = (3, 2, 4)
    values = numbered(shape, "i1")
    behind = memory()
    forward = dense(shape, "i1")
    row = forward.strides[0]
    backward = dataclasses.replace(
        forward, bases=(2 * row, 0, 0, 0), strides=(-row, *forward.strides[1:])
    )
    behind.write(backward, values)
    np.testing.assert_array_equal(behind.read(forward, shape), values[::-1])


@pytest.mark.parametrize(
    "outside",
    [
        dense((4, 4, 4), "i1", SIZE - 63),
        bricks((4, 4, 17), "i1", SIZE - 64 * 7),
        dataclasses.replace(dense((4, 4, 4), "i1", 40), strides=(-16, 4, 1)),
        dataclasses.replace(dense((4, 4, 4), "<i4"), strides=(1 << 20, 4, 1)),
    ],
)
def test_what_lies_outside_is_an_error(outside):
    with pytest.raises(CommandError, match=r"IFM takes bytes -?\d+ to \d+ of region 1, which has"):
        memory().read(outside, (4, 4, 20))


def test_the_last_byte_is_inside():
    memory().read(dense((4, 4, 4), "i1", SIZE - 64), (4, 4, 4))


def test_a_base_pointer_without_memory_is_an_error():
    nowhere = dataclasses.replace(dense((1, 1, 1), "i1"), region=5)
    with pytest.raises(CommandError, match="region 5, behind which there is no memory"):
        memory().read(nowhere, (1, 1, 1))


def test_weights_are_not_written():
    constant = dataclasses.replace(dense((1, 1, 1), "i1"), region=0)
    with pytest.raises(CommandError, match="nothing may be written"):
        memory().write(constant, np.zeros((1, 1, 1), np.int8))


def test_bricks_lie_at_multiples_of_16():
    with pytest.raises(CommandError, match="no multiple of 16"):
        memory().read(bricks((1, 1, 16), "i1", 8), (1, 1, 16))


def test_spans_are_checked():
    assert memory().span(Span(0, 4, 12), "the weights").size == 12
    with pytest.raises(CommandError, match="the weights takes bytes 4 to 17 of region 0"):
        memory().span(Span(0, 4, 13), "the weights")
