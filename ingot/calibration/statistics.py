"""What calibration knows of a tensor: the figures from which each range method chooses."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from ingot.calibration.histogram import Histogram

MOVING_AVERAGE_CONSTANT = 0.01
"""The weight of a new sample in the moving extremes."""


@dataclasses.dataclass(frozen=True)
class ChannelStatistics:
    """Figures of each channel of a tensor.

    Attributes:
        axis: The channels' axis, counted from the front.
        minimum: Smallest value, float64 [channels].
        maximum: Largest value, float64 [channels].
        mean: Mean value, float64 [channels].
    """

    axis: int
    minimum: npt.NDArray[np.float64]
    maximum: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class TensorStatistics:
    """What was seen of one tensor over all samples, in the tensor's own units.

    Attributes:
        samples: Inferences in which the tensor had values.
        count: Values seen.
        minimum: The smallest.
        maximum: The largest.
        moving_minimum: Exponential moving average of the samples' minima, in the order of the
            samples, each new one weighing ``MOVING_AVERAGE_CONSTANT`` (the first one alone to
            begin with).
        moving_maximum: The same of the maxima.
        mean: Mean of all values.
        histogram: How the values are distributed.
        channels: Figures per channel; None for scalars and vectors, and where the number of
            channels changes from sample to sample. The channels are along axis 1 for rank 4 and
            above (NCHW) and for rank 3 beside a convolution (NCL), along the last axis for rank 2
            and other tensors of rank 3 (transformers).
    """

    samples: int
    count: int
    minimum: float
    maximum: float
    moving_minimum: float
    moving_maximum: float
    mean: float
    histogram: Histogram
    channels: ChannelStatistics | None = None
