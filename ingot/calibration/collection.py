"""Calibration: what a model's tensors hold on real data."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.cached import DamagedCacheError
from ingot.calibration.activations import Activations
from ingot.calibration.cache import StatisticsCache
from ingot.calibration.fitting import fit_samples
from ingot.calibration.observer import Observer
from ingot.calibration.samples import Data, Sample, open_samples
from ingot.calibration.statistics import TensorStatistics
from ingot.errors import DataError, IngotError
from ingot.progress import Progress, no_progress
from ingot.reference.session import Array

ENOUGH_SAMPLES = 32
"""Below so many samples, the ranges of activations are likely too narrow."""

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "QLinearConv", "ConvInteger"})


class Calibration:
    """Data to calibrate with, and what tensors hold when a model runs on it.

    Labels are ignored; an example of two sentences is two samples. Where a model fixes its batch,
    samples of one example are stacked; where it fixes the number of tokens, sentences are padded.

    Args:
        data: A data set, or any iterable of mappings from input name to array (batch axis
            included). An iterable is read once and kept in a temporary file, so a generator will
            do.
        limit: The most examples to use: of a data set or a list spread evenly over it, of another
            iterable the first ones.
        threads: Threads within an operator; 0 for one per core.
        cache: The folder that keeps statistics for the next time; None keeps none.
        progress: Told of each sample that is run.

    Attributes:
        description: What the data is, in a few words.
        notes: What a user should be told, one line each.
        progress: Told of each sample, and by passes of what they do with samples.
    """

    def __init__(
        self,
        data: Data,
        *,
        limit: int | None = None,
        threads: int = 0,
        cache: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self._samples = open_samples(data, limit)
        self._threads = threads
        self._cache = cache
        self.progress = progress
        self._notes: list[str] = []

    @property
    def description(self) -> str:
        """What the data is, in a few words."""
        return self._samples.description

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should be told, one line each."""
        return tuple(self._notes)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over what the samples hold, in order; the manifest's ``calibration``."""
        return self._samples.digest()

    def samples(self, limit: int | None = None) -> Iterator[Sample]:
        """Yields the samples in order, or ``limit`` of them, spread evenly over all.

        Raises:
            DataError: A sample is damaged.
        """
        return self._samples.take(limit)

    def fitted(self, model: ir.Model, limit: int | None = None) -> Iterator[Mapping[str, Array]]:
        """Yields the inputs of samples, padded and stacked where a model fixes their sizes.

        Args:
            model: The model.
            limit: The most samples, spread evenly over all.

        Raises:
            DataError: A sample does not fit the model.
        """
        for sample, _ in self._fitted(model, limit):
            yield sample.inputs

    def statistics(
        self, model: ir.Model, tensors: Sequence[str], *, histograms: bool = True
    ) -> dict[str, TensorStatistics]:
        """Runs every sample once and returns what each tensor held.

        Args:
            model: The model to run, in ONNX Runtime; not changed.
            tensors: Names of its inputs and of values that its main graph computes.
            histograms: Whether values are counted as well, which takes most of the time; without,
                a histogram may be empty.

        Returns:
            Statistics by tensor name, in the order asked for.

        Raises:
            DataError: There are no samples, one does not fit the model, or a tensor is NaN or
                infinite (names the tensor and the sample).
            ModelError: ONNX Runtime cannot load the model.
            UsageError: The model has no such tensor.
        """
        if 0 < self._samples.count() < ENOUGH_SAMPLES:
            self.note(
                f"calibrated on {self._samples.count()} samples only, so ranges may be too narrow: "
                f"give {ENOUGH_SAMPLES} or more, 300 if possible"
            )
        if self._cache is None:
            return self._observe(model, tensors, histogram=histograms, limit=None)
        cache = StatisticsCache(self._cache, model, self.digest)
        try:
            known = cache.load()
        except DamagedCacheError as error:
            self.note(f"{error}; the statistics were computed again")
            known = {}
        missing = [
            name
            for name in tensors
            if name not in known or (histograms and not known[name].histogram.total)
        ]
        if missing:
            known |= self._observe(model, missing, histogram=histograms, limit=None)
            self._store(cache, known)
        return {name: known[name] for name in tensors}

    def means(
        self, model: ir.Model, tensors: Sequence[str], *, limit: int | None = None
    ) -> dict[str, npt.NDArray[np.float64]]:
        """The mean of each tensor per channel; for bias correction.

        Args:
            model: The model to run; not changed.
            tensors: Names of tensors; see :meth:`statistics`.
            limit: The most samples to run, spread evenly over all.

        Returns:
            float64 [channels] by tensor name, along the axis that
            :class:`~ingot.calibration.statistics.TensorStatistics` states.

        Raises:
            DataError: See :meth:`statistics`; or a tensor has no channels.
        """
        means = {}
        for name, found in self._observe(model, tensors, histogram=False, limit=limit).items():
            if found.channels is None:
                raise DataError(f"tensor '{name}' has no channels, so there is no mean of each")
            means[name] = found.channels.mean
        return means

    def outputs(
        self, model: ir.Model, tensors: Sequence[str], limit: int | None = None
    ) -> Iterator[dict[str, Array]]:
        """Yields the tensors themselves, sample by sample.

        Args:
            model: The model to run; not changed.
            tensors: Names of tensors; see :meth:`statistics`. All those of one sample are in
                memory at once.
            limit: The most samples to run, spread evenly over all.

        Raises:
            DataError: A sample does not fit the model.
        """
        activations = Activations(model, tensors, threads=self._threads)
        for sample, _ in self._fitted(model, limit):
            found: dict[str, Array] = {}
            for part in activations.run(sample):
                found |= part
            yield {name: found[name] for name in tensors}

    def _fitted(self, model: ir.Model, limit: int | None) -> Iterator[tuple[Sample, int]]:
        return fit_samples(self.samples(limit), model.graph.inputs, self._samples.padding)

    def _store(self, cache: StatisticsCache, statistics: Mapping[str, TensorStatistics]) -> None:
        try:
            cache.store(statistics)
        except IngotError as error:
            self.note(f"the statistics are not kept for the next time: {error}")

    def note(self, note: str) -> None:
        """Adds to ``notes`` what a user should be told, once."""
        if note not in self._notes:
            self._notes.append(note)

    def _observe(
        self, model: ir.Model, tensors: Sequence[str], *, histogram: bool, limit: int | None
    ) -> dict[str, TensorStatistics]:
        first = _channels_first(model)
        observers = {
            name: Observer(name, channels_first=name in first, histogram=histogram)
            for name in tensors
        }
        activations = Activations(model, tensors, threads=self._threads)
        total = self._samples.count() if limit is None else min(self._samples.count(), limit)
        done = 0
        with concurrent.futures.ThreadPoolExecutor(self._threads or None) as pool:
            for sample, count in self._fitted(model, limit):
                for part in activations.run(sample):
                    _update(pool, observers, part, sample.name)
                done += count
                self.progress("observing activations", done, total)
        if not done:
            raise DataError("the calibration data holds no samples; give at least one")
        return {name: observer.finish() for name, observer in observers.items()}


def _update(
    pool: concurrent.futures.Executor,
    observers: dict[str, Observer],
    values: dict[str, Array],
    sample: str,
) -> None:
    # NumPy lets go of the interpreter's lock while it counts, so threads help.
    updates = [pool.submit(observers[name].update, array, sample) for name, array in values.items()]
    for update in updates:
        update.result()


def _channels_first(model: ir.Model) -> frozenset[str]:
    """Names of the tensors that a convolution reads or computes."""
    return frozenset(
        str(value.name)
        for node in model.graph
        if node.op_type in _CONVOLUTIONS
        for value in (*node.inputs[:1], *node.outputs)
        if value is not None
    )
