"""What a kernel sees of its input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ingot.runtime.npu.command_stream.registers import Kernel, Padding, Upscale
from ingot.runtime.npu.command_stream.window import Window, read_upscaled
from tests.runtime.npu.command_stream.test_memory import dense, memory


def test_taps_step_by_stride_and_spread_by_dilation():
    kernel = Kernel(2, 2, (2, 3), (2, 1), part_kernel_first=False)
    values = np.arange(6 * 8).reshape(6, 8, 1)
    window = Window(values, 0, kernel, Padding(0, 0, 0, 0), (2, 3))
    taps = {(row, column): tap[:, :, 0] for row, column, tap in window.taps(values)}
    assert taps[0, 0].tolist() == [[0, 3, 6], [16, 19, 22]]
    assert taps[1, 1].tolist() == [[17, 20, 23], [33, 36, 39]]


def test_padding_surrounds():
    kernel = Kernel(1, 1, (1, 1), (1, 1), part_kernel_first=False)
    window = Window(np.ones((1, 1, 1)), 0, kernel, Padding(1, 0, 2, 1), (2, 4))
    assert window.padded(window.values, 7)[:, :, 0].tolist() == [[7, 7, 7, 7], [7, 7, 1, 7]]


@pytest.mark.parametrize(
    ("upscale", "expected"),
    [
        (Upscale.NONE, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (Upscale.NEAREST, [[1, 1, 2], [1, 1, 2], [4, 4, 5]]),
        (Upscale.ZEROS, [[1, -3, 2], [-3, -3, -3], [4, -3, 5]]),
    ],
)
def test_upscaling_repeats_or_inserts_the_zero_point(upscale, expected):
    behind = memory()
    ifm = dataclasses.replace(dense((3, 3, 1), "i1"), zero_point=-3)
    behind.write(ifm, np.arange(1, 10, dtype=np.int8).reshape(3, 3, 1))
    assert read_upscaled(behind, ifm, upscale, (3, 3, 1))[:, :, 0].tolist() == expected
