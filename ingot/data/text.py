"""Sentences to calibrate with: a text file, or the columns of text in a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ingot.data.base import Array, Dataset, Example, choose
from ingot.data.files import unreadable
from ingot.data.preprocessing import TextPreprocessing
from ingot.errors import DataError

TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
TEXT_SUFFIXES = TABLE_SUFFIXES | {".txt"}

# Headings of columns of text in the public data sets (GLUE's among them).
_HEADINGS = frozenset(
    {
        "sentence", "sentence1", "sentence2", "text", "text_a", "text_b", "question", "question1",
        "question2", "premise", "hypothesis", "review", "content",
    }
)  # fmt: skip


class Sentences(Dataset):
    """Sentences without labels, one inference each.

    Attributes:
        description: The file's name and how many sentences of it are used.
    """

    def __init__(
        self, path: Path, rows: Sequence[tuple[int, str]], preprocessing: TextPreprocessing
    ) -> None:
        """Takes rows of (line number, sentence)."""
        self._rows = list(rows)
        self._preprocessing = preprocessing
        self.description = f"{len(self._rows):,} sentences of {path.name}"

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """Tokenizes one sentence."""
        line, sentence = self._rows[index]
        return Example(f"line {line}", (self._preprocessing.apply(sentence),))

    @property
    def labelled(self) -> bool:
        """Never."""
        return False

    @property
    def labels(self) -> Array:
        """None to be had: an error."""
        raise self._no_labels()

    @property
    def padding(self) -> Mapping[str, int]:
        """The tokenizer's padding."""
        return self._preprocessing.padding

    def _content(self) -> Iterator[bytes]:
        for _, sentence in self._rows:
            yield f"{sentence}\0".encode()


def open_sentences(path: Path, preprocessing: TextPreprocessing, *, limit: int | None) -> Sentences:
    """Reads a ``.txt``, ``.csv`` or ``.tsv``; see ``open_dataset`` for the forms and the errors."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix in TABLE_SUFFIXES:
                rows = _table(
                    path, csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
                )
            else:
                rows = [(number, line.strip()) for number, line in enumerate(file, 1)]
    except OSError as error:
        raise unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no text in UTF-8: {error}; convert it") from error
    rows = [(number, sentence) for number, sentence in rows if sentence]
    if not rows:
        raise DataError(f"{path} is empty: it holds no sentences")
    return Sentences(path, choose(rows, limit), preprocessing)


def _table(path: Path, reader: Iterator[list[str]]) -> list[tuple[int, str]]:
    """The cells of the columns of text, row by row."""
    table = [(number, row) for number, row in enumerate(reader, 1) if row]
    if table and _is_header(table):
        table = table[1:]
    columns = range(max((len(row) for _, row in table), default=0))
    textual = [
        column
        for column in columns
        if not all(_is_number(row[column]) for _, row in table if column < len(row))
    ]
    if table and not textual:
        raise DataError(f"{path} holds numbers alone, no column of sentences")
    return [
        (number, row[column].strip())
        for number, row in table
        for column in textual
        if column < len(row)
    ]


def _is_header(table: Sequence[tuple[int, list[str]]]) -> bool:
    """Whether the first row names the columns: by a known name, or above a column of numbers."""
    (_, first), *rest = table
    if any(cell.strip().lower() in _HEADINGS for cell in first):
        return True
    return bool(rest) and any(
        not _is_number(cell)
        and all(column < len(row) and _is_number(row[column]) for _, row in rest)
        for column, cell in enumerate(first)
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True
