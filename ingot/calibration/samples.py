"""Samples: the single inferences that calibration runs, whatever form the data came in."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ingot.data.base import Dataset, array_content, choose
from ingot.errors import DataError, UsageError, first_line
from ingot.files import temporary_file, temporary_place

Array: TypeAlias = npt.NDArray[Any]
Data: TypeAlias = Dataset | Iterable[Mapping[str, Any]]
"""What can be calibrated with: a data set, or any iterable of input name to array."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One inference.

    Attributes:
        name: Where it comes from, for messages ("cat.jpg", "sample 12").
        inputs: Arrays by input name, batch axis included.
    """

    name: str
    inputs: Mapping[str, Array]


class Samples(abc.ABC):
    """The same samples in the same order, as often as they are asked for.

    Attributes:
        description: What they are, in a few words.
        padding: By input name, what fills a sample's last axis up to a size that a model fixes.
    """

    description: str
    padding: Mapping[str, int] = MappingProxyType({})

    def __iter__(self) -> Iterator[Sample]:
        """Yields all samples; see :meth:`take`."""
        return self.take(None)

    @abc.abstractmethod
    def take(self, limit: int | None) -> Iterator[Sample]:
        """Yields at most ``limit`` samples, spread evenly over all, in their order.

        Raises:
            DataError: A sample is damaged; it is named.
        """

    @abc.abstractmethod
    def count(self) -> int:
        """The number of samples."""

    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256 (hex) over what the samples hold, in order, and how they are prepared."""


def open_samples(data: Data, limit: int | None = None) -> Samples:
    """Makes samples of any kind of data.

    Args:
        data: A data set (labels are ignored; an example of two sentences is two samples), a list
            or tuple of mappings, or any iterable of mappings. An iterable is read once, into a
            temporary file: a generator, and a loader that shuffles or augments, give the same
            samples in every pass over them.
        limit: The most examples to use: of a data set or a list spread evenly over it, of another
            iterable the first ones.

    Raises:
        UsageError: The limit is not positive, or ``data`` is of no such kind.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} samples is not possible: give 1 or more")
    if isinstance(data, Dataset):
        return _DatasetSamples(data, limit)
    if isinstance(data, (list, tuple)):
        return _ListedSamples(data, limit)
    if isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Iterable):
        raise UsageError(
            f"calibration data cannot be a {type(data).__name__}: give an iterable of mappings "
            "from input name to array, or open files with open_dataset"
        )
    return _SpooledSamples(data, limit)


class _DatasetSamples(Samples):
    def __init__(self, dataset: Dataset, limit: int | None) -> None:
        self._dataset = dataset
        self._indices = choose(range(len(dataset)), limit)
        self.description = dataset.description
        if len(self._indices) < len(dataset):
            self.description = f"{len(self._indices):,} of {dataset.description}"
        self.padding = dataset.padding

    def take(self, limit: int | None) -> Iterator[Sample]:
        examples = (self._dataset[index] for index in choose(self._indices, limit))
        samples = (
            Sample(example.name, inputs) for example in examples for inputs in example.inputs
        )
        return itertools.islice(samples, limit)

    def count(self) -> int:
        return len(self._indices) * len(self._dataset[0].inputs) if self._indices else 0

    def digest(self) -> str:
        digest = hashlib.sha256(f"{self._dataset.digest}\0{self._indices}\0".encode())
        # Files alone do not tell how they are prepared; a prepared example does.
        for sample in itertools.islice(self, 1):
            _add_content(digest, sample.inputs)
        return digest.hexdigest()


class _ListedSamples(Samples):
    def __init__(self, data: Sequence[Mapping[str, Any]], limit: int | None) -> None:
        indices = choose(range(len(data)), limit)
        self._chosen = [(index, data[index]) for index in indices]
        self._digest: str | None = None
        self.description = f"{len(indices):,} samples from Python"

    def take(self, limit: int | None) -> Iterator[Sample]:
        for index, entry in choose(self._chosen, limit):
            yield _sample(index, entry)

    def count(self) -> int:
        return len(self._chosen)

    def digest(self) -> str:
        if self._digest is None:
            digest = hashlib.sha256()
            for sample in self:
                _add_content(digest, sample.inputs)
            self._digest = digest.hexdigest()
        return self._digest


class _SpooledSamples(Samples):
    """Reads an iterable once, and keeps its samples in a temporary file."""

    def __init__(self, data: Iterable[Mapping[str, Any]], limit: int | None) -> None:
        self._data: Iterable[Mapping[str, Any]] | None = data
        self._limit = limit
        # Where each sample begins in the file, and its inputs.
        self._entries: list[tuple[int, tuple[str, ...]]] = []
        self._file: IO[bytes] | None = None
        self._digest = ""
        self.description = "samples from Python"

    def take(self, limit: int | None) -> Iterator[Sample]:
        file = self._spool()
        for index, (position, names) in choose(list(enumerate(self._entries)), limit):
            file.seek(position)
            yield Sample(_name(index), {name: np.load(file, allow_pickle=False) for name in names})

    def count(self) -> int:
        self._spool()
        return len(self._entries)

    def digest(self) -> str:
        self._spool()
        return self._digest

    def _spool(self) -> IO[bytes]:
        if self._file is not None:
            return self._file
        assert self._data is not None
        digest = hashlib.sha256()
        # Kept open until the samples are gone; the file has no name and vanishes with it.
        file = temporary_file()
        for index, entry in enumerate(self._data):
            sample = _sample(index, entry)
            _add_content(digest, sample.inputs)
            self._entries.append((file.tell(), tuple(sample.inputs)))
            try:
                for array in sample.inputs.values():
                    np.save(file, array, allow_pickle=False)
            except OSError as error:
                raise DataError(
                    f"{_name(index)} cannot be kept in {temporary_place()} "
                    f"({first_line(error)}); free space there, set TMPDIR, or give a limit"
                ) from error
            if index + 1 == self._limit:
                break
        self._data, self._file, self._digest = None, file, digest.hexdigest()
        self.description = f"{len(self._entries):,} samples from Python"
        return file


def _sample(index: int, entry: Any) -> Sample:
    if not isinstance(entry, Mapping):
        raise DataError(
            f"{_name(index)} is a {type(entry).__name__}, not a mapping from input name to array"
        )
    return Sample(
        _name(index), {str(name): _array(index, name, value) for name, value in entry.items()}
    )


def _array(index: int, name: Any, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"input '{name}' of {_name(index)} cannot become a NumPy array: {first_line(error)}"
        ) from error
    if array.dtype == object:
        raise DataError(f"input '{name}' of {_name(index)} is no array of numbers")
    return array


def _name(index: int) -> str:
    return f"sample {index}"


def _add_content(digest: Any, inputs: Mapping[str, Array]) -> None:
    for name, array in sorted(inputs.items()):
        for part in array_content(name, array):
            digest.update(part)
