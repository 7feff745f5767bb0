"""Pairs of sentences with a score of their similarity, as in the STS benchmark."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ingot.data.base import Array, Dataset, Example, choose
from ingot.data.files import unreadable
from ingot.data.metrics import Metric, Spearman
from ingot.data.preprocessing import TextPreprocessing
from ingot.errors import DataError


class SentencePairs(Dataset):
    """Two inferences per example: one for each sentence.

    Attributes:
        description: The file's name and how many pairs of it are used.
    """

    def __init__(
        self,
        path: Path,
        rows: Sequence[tuple[int, str, str, float]],
        preprocessing: TextPreprocessing,
    ) -> None:
        """Takes rows of (line number, sentence, sentence, score)."""
        self._rows = list(rows)
        self._preprocessing = preprocessing
        self.description = f"{len(self._rows):,} sentence pairs of {path.name}"

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """Tokenizes one pair."""
        line, first, second, score = self._rows[index]
        inputs = (self._preprocessing.apply(first), self._preprocessing.apply(second))
        return Example(f"line {line}", inputs, score)

    @property
    def labelled(self) -> bool:
        """Always: a pair without a score is refused."""
        return True

    @property
    def labels(self) -> Array:
        """The scores, float64 [pairs]."""
        return np.array([score for *_, score in self._rows], dtype=np.float64)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Spearman's rank correlation of the embeddings' cosine with the scores."""
        return (Spearman(pool=self._preprocessing.pool),)

    @property
    def padding(self) -> Mapping[str, int]:
        """The tokenizer's padding."""
        return self._preprocessing.padding

    def _content(self) -> Iterator[bytes]:
        for _, first, second, score in self._rows:
            yield f"{first}\0{second}\0{score!r}\0".encode()


def open_sentence_pairs(
    path: Path, preprocessing: TextPreprocessing, *, limit: int | None
) -> SentencePairs:
    """Reads a ``.csv`` or ``.tsv``; see ``open_dataset`` for its form and the errors."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    rows: list[tuple[int, str, str, float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            for position, row in enumerate(reader):
                if not row:
                    continue
                parsed = _parse(path, reader.line_num, row, header=position == 0)
                if parsed is not None:
                    rows.append(parsed)
    except OSError as error:
        raise unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no text in UTF-8 with separated columns: {error}") from error
    if not rows:
        raise DataError(f"{path} is empty: it holds no sentence pairs")
    return SentencePairs(path, choose(rows, limit), preprocessing)


def _parse(
    path: Path, line: int, row: list[str], *, header: bool
) -> tuple[int, str, str, float] | None:
    if len(row) != 3:
        raise DataError(
            f"line {line} of {path} has {len(row)} columns, not 3 (sentence, sentence, score)"
        )
    try:
        score = float(row[2])
    except ValueError:
        if header:
            return None
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"line {line} of {path}: the score {row[2]!r} is no number")
    return line, row[0], row[1], score
