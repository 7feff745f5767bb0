"""Weight streams, decoded into the order of the TOSA graph's weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

mlw_codec = pytest.importorskip("ethosu.mlw_codec", reason="needs the extra: ingot[npu]")

from ingot.runtime.npu.command_stream.accelerator import ACCELERATORS  # noqa: E402
from ingot.runtime.npu.command_stream.decode import CommandError  # noqa: E402
from ingot.runtime.npu.command_stream.registers import Kernel  # noqa: E402
from ingot.runtime.npu.command_stream.weights import WeightOrder, decode_weights  # noqa: E402


def encoded(weights: np.ndarray, order: WeightOrder) -> bytes:
    """What Arm's codec makes of weights in this order."""
    stream, _ = mlw_codec.reorder_encode(
        order.accelerator.ifm_micro_depth,
        order.accelerator.ofm_micro_depth,
        weights.astype(np.int16),
        order.block_depth,
        order.depthwise,
        order.kernel.part_kernel_first,
        order.ifm_bits,
        8 // order.kernel.dilation[0],
        8 // order.kernel.dilation[1],
    )
    return bytes(stream)


@st.composite
def orders(draw) -> WeightOrder:
    depthwise = draw(st.booleans())
    height, width = draw(st.tuples(st.integers(1, 11), st.integers(1, 11)))
    kernel = Kernel(
        height,
        width,
        (1, 1),
        draw(st.tuples(*[st.sampled_from([1, 2])] * 2)),
        part_kernel_first=not depthwise and draw(st.booleans()),
    )
    return WeightOrder(
        accelerator=ACCELERATORS[draw(st.sampled_from(list(ACCELERATORS)))],
        shape=(
            draw(st.integers(1, 50)),
            height,
            width,
            1 if depthwise else draw(st.integers(1, 70)),
        ),
        block_depth=draw(st.sampled_from([8, 16, 32, 48])),
        kernel=kernel,
        depthwise=depthwise,
        ifm_bits=draw(st.sampled_from([8, 16])),
    )


@given(orders(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_decoding_undoes_the_codec(order, seed):
    weights = np.random.default_rng(seed).integers(-255, 256, order.shape, np.int16)
    np.testing.assert_array_equal(decode_weights(encoded(weights, order), order), weights)


@pytest.mark.parametrize("length", [0, 16])
def test_a_damaged_stream_is_an_error_and_ends_no_process(length):
    """The codec ends the process that it runs in."""
    kernel = Kernel(1, 1, (1, 1), (1, 1), part_kernel_first=False)
    order = WeightOrder(ACCELERATORS["ethos-u55-128"], (16, 1, 1, 8), 16, kernel, False, 8)
    weights = np.random.default_rng(0).integers(-99, 99, order.shape)
    stream = encoded(weights, order)
    with pytest.raises(CommandError, match="is damaged: the codec ended with exit code 1"):
        decode_weights(stream[:length], order)
    np.testing.assert_array_equal(decode_weights(stream, order), weights)


@pytest.mark.parametrize("channels", [8, 24])
def test_a_stream_of_another_length_is_an_error(channels):
    kernel = Kernel(1, 1, (1, 1), (1, 1), part_kernel_first=False)
    accelerator = ACCELERATORS["ethos-u55-128"]
    right = WeightOrder(accelerator, (16, 1, 1, 8), 16, kernel, False, 8)
    wrong = WeightOrder(accelerator, (channels, 1, 1, 8), 16, kernel, False, 8)
    stream = encoded(np.ones(right.shape), right)
    with pytest.raises(CommandError, match="its weight stream has 512 weights, it reads"):
        decode_weights(stream, wrong)
