"""Phases of a transposed convolution: together they are it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingot.targets.cpu.transposed_phases import TransposedAxis


@given(
    kernel=st.integers(1, 6),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    padding=st.integers(0, 4),
    size=st.integers(1, 5),
    joined=st.booleans(),
)
def test_phases_are_the_transposed_convolution(
    kernel: int, stride: int, dilation: int, padding: int, size: int, joined: bool
) -> None:
    rng = np.random.default_rng(0)
    signal, weights = rng.integers(1, 9, size), rng.integers(1, 9, kernel)
    whole = np.zeros(padding + (size - 1) * stride + (kernel - 1) * dilation + 1, np.int64)
    for at, tap in np.ndindex(size, kernel):
        whole[at * stride + tap * dilation] += signal[at] * weights[tap]
    expected = whole[padding:]
    axis = TransposedAxis(kernel, stride, dilation, padding, size, len(expected))
    phases = axis.phases(joined=joined)
    assert sum(phase.count for phase in phases) == stride
    actual, remainder = {}, 0
    for phase in phases:
        for within in range(phase.count):
            for output in range(int(axis.count)):
                total = 0
                for step, taps in enumerate(phase.taps):
                    read = output - phase.before + step * phase.dilation
                    if 0 <= read < size:
                        total += signal[read] * weights[taps[within]]
                actual[(output + axis.first) * stride + remainder - padding] = total
            remainder += 1
    assert [actual[at] for at in range(len(expected))] == expected.tolist()
