"""Watches one tensor, sample by sample, and keeps figures instead of values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.calibration.histogram import HistogramBuilder
from ingot.calibration.statistics import (
    MOVING_AVERAGE_CONSTANT,
    ChannelStatistics,
    TensorStatistics,
)
from ingot.errors import DataError, ModelError

Array = npt.NDArray[Any]


class Observer:
    """Collects the statistics of one tensor; its memory does not grow with the samples.

    Args:
        tensor: The tensor's name, for messages.
        channels_first: Whether axis 1 holds the channels also in rank 3.
        histogram: Whether values are counted as well; without, the histogram stays empty.
    """

    def __init__(
        self, tensor: str, *, channels_first: bool = False, histogram: bool = True
    ) -> None:
        self._tensor = tensor
        self._channels_first = channels_first
        self._histogram = HistogramBuilder() if histogram else None
        self._empty = HistogramBuilder().finish()
        self._samples = 0
        self._count = 0
        self._extremes = (np.inf, -np.inf)
        self._moving = (0.0, 0.0)
        self._sum = 0.0
        self._channels: _Channels | None = None
        self._has_channels = True

    def update(self, values: Array, sample: str) -> None:
        """Takes the tensor's values of one sample.

        Args:
            values: The tensor; of integers or booleans too.
            sample: The sample's name, for messages.

        Raises:
            DataError: A value is NaN or infinite.
            ModelError: The tensor holds no numbers.
        """
        if values.dtype.kind not in "fiub":
            raise ModelError(
                f"tensor '{self._tensor}' holds {values.dtype}, no numbers: leave it out"
            )
        if values.size == 0:
            return
        values = np.ascontiguousarray(
            values if values.dtype in (np.float32, np.float64) else values.astype(_wider(values))
        )
        channels = self._update_channels(values)
        lowest, highest = (
            (float(channels.lowest.min()), float(channels.highest.max()))
            if channels is not None
            else (float(values.min()), float(values.max()))
        )
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise self._not_finite(values, sample)
        self._extremes = (min(self._extremes[0], lowest), max(self._extremes[1], highest))
        weight = MOVING_AVERAGE_CONSTANT if self._samples else 1.0
        self._moving = (
            self._moving[0] + weight * (lowest - self._moving[0]),
            self._moving[1] + weight * (highest - self._moving[1]),
        )
        total = _total(values.ravel(), 0) if channels is None else channels.total.sum()
        self._sum += float(total)
        self._samples += 1
        self._count += values.size
        if self._histogram is not None:
            self._histogram.add(values, lowest, highest)

    def finish(self) -> TensorStatistics:
        """The statistics so far.

        Raises:
            DataError: The tensor had no values in any sample.
        """
        if not self._samples:
            raise DataError(
                f"tensor '{self._tensor}' is empty in every sample, so nothing is known of its "
                "range; give samples that reach it"
            )
        return TensorStatistics(
            samples=self._samples,
            count=self._count,
            minimum=self._extremes[0],
            maximum=self._extremes[1],
            moving_minimum=self._moving[0],
            moving_maximum=self._moving[1],
            mean=self._sum / self._count,
            histogram=self._empty if self._histogram is None else self._histogram.finish(),
            channels=None if self._channels is None else self._channels.finish(),
        )

    def _update_channels(self, values: Array) -> _Channels | None:
        """Adds the sample's figures per channel; returns those of this sample alone."""
        axis = channel_axis(values.ndim, channels_first=self._channels_first)
        if axis is None:
            self._channels, self._has_channels = None, False
            return None
        found = _Channels.of(values, axis)
        if not self._has_channels:
            return found
        if self._channels is None:
            self._channels = found
        elif self._channels.axis != axis or len(self._channels.total) != len(found.total):
            self._channels, self._has_channels = None, False
        else:
            self._channels = self._channels.merged(found)
        return found

    def _not_finite(self, values: Array, sample: str) -> DataError:
        position = np.argwhere(~np.isfinite(values))[0].tolist()
        kind = "NaN" if np.isnan(values[tuple(position)]) else "infinite"
        return DataError(
            f"tensor '{self._tensor}' is {kind} at {position} for {sample}: check that the sample "
            "is prepared as the model expects, and that the model itself does not overflow"
        )


class _Channels:
    """Extremes and sums per channel."""

    def __init__(self, axis: int, lowest: Array, highest: Array, total: Array, count: int) -> None:
        self.axis, self.lowest, self.highest = axis, lowest, highest
        self.total, self._count = total, count

    @classmethod
    def of(cls, values: Array, axis: int) -> _Channels:
        """The figures of one array."""
        channels = values.shape[axis]
        count = values.size // channels
        if axis == values.ndim - 1:
            rows = values.reshape(-1, channels)
            return cls(axis, rows.min(0), rows.max(0), _total(rows, 0), count)
        maps = values.reshape(values.shape[0], channels, -1)
        lowest, highest = maps.min(-1).min(0), maps.max(-1).max(0)
        return cls(axis, lowest, highest, _total(maps, -1).sum(0), count)

    def merged(self, other: _Channels) -> _Channels:
        """The figures of both."""
        return _Channels(
            self.axis,
            np.minimum(self.lowest, other.lowest),
            np.maximum(self.highest, other.highest),
            self.total + other.total,
            self._count + other._count,
        )

    def finish(self) -> ChannelStatistics:
        return ChannelStatistics(
            self.axis,
            self.lowest.astype(np.float64),
            self.highest.astype(np.float64),
            self.total / self._count,
        )


def channel_axis(rank: int, *, channels_first: bool) -> int | None:
    """The axis of a tensor's channels.

    Args:
        rank: The tensor's rank.
        channels_first: Whether axis 1 holds the channels also in rank 3, as beside a convolution.

    Returns:
        Axis 1 for rank 4 and above, the last axis for rank 2 and 3; None for scalars and vectors.
    """
    if rank < 2:
        return None
    return 1 if rank >= 4 or channels_first else rank - 1


def _total(values: Array, axis: int) -> Array:
    return np.asarray(values.sum(axis, dtype=np.float64))


def _wider(values: Array) -> type[np.floating[Any]]:
    return np.float32 if values.dtype == np.float16 else np.float64
