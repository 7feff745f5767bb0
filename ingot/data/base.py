"""What every data set is: a fixed order of lazily decoded examples, labelled or not."""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ingot.data.metrics import Metric
from ingot.errors import DataError, UsageError

Array: TypeAlias = npt.NDArray[Any]
ItemT = TypeVar("ItemT")


@dataclasses.dataclass(frozen=True)
class Example:
    """One example, ready to be given to a model.

    Attributes:
        name: Where the example comes from, for messages ("0003/ILSVRC_1.jpg", "row 12").
        inputs: The inferences that the example takes, each a dict of input name to array with its
            batch axis: one for a classifier, two for a pair of sentences.
        label: The class index or the score; None when the data carries none.
    """

    name: str
    inputs: tuple[dict[str, Array], ...]
    label: int | float | None = None


class Dataset(abc.ABC):
    """A sequence of examples in a deterministic order, decoded when asked for.

    Attributes:
        description: What the data is, in a few words for a report.
    """

    description: str

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of examples, after ``limit``."""

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Example:
        """Decodes one example.

        Raises:
            DataError: The example is damaged or does not fit the model; it is named.
        """

    def __iter__(self) -> Iterator[Example]:
        """Decodes the examples one by one, in order."""
        for index in range(len(self)):
            yield self[index]

    @property
    @abc.abstractmethod
    def labels(self) -> Array:
        """The labels in order, [examples]: int64 classes or float64 scores.

        Raises:
            DataError: The data carries no labels.
        """

    @property
    @abc.abstractmethod
    def labelled(self) -> bool:
        """Whether the data carries labels."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What a model is judged by on this data when nothing else is asked for."""
        return ()

    @property
    def padding(self) -> Mapping[str, int]:
        """By input name, what fills an example's last axis up to a size that a model fixes."""
        return {}

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the names and the content of the examples, in order."""
        digest = hashlib.sha256()
        for part in self._content():
            digest.update(part)
        return digest.hexdigest()

    @abc.abstractmethod
    def _content(self) -> Iterable[bytes]:
        """Yields what the digest covers."""

    def _no_labels(self) -> DataError:
        return DataError(
            f"{self.description} carries no labels, so accuracy cannot be measured on it; put "
            "images into folders named by class index, or use an .npz with 'x' and 'y'"
        )


def choose(items: Sequence[ItemT], limit: int | None) -> list[ItemT]:
    """Takes ``limit`` items spread evenly over a sequence, in its order.

    Sorted data is often grouped by class, so the first n would be a few classes only.

    Raises:
        UsageError: The limit is not positive.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} examples is not possible: give 1 or more")
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def array_content(name: str, array: Array) -> Iterator[bytes]:
    """Yields an array's name, type, shape and values."""
    yield f"{name}\0{array.dtype.str}\0{array.shape}\0".encode()
    yield np.ascontiguousarray(array).tobytes()
