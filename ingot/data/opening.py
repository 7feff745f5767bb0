"""Recognizing what kind of data a path holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ingot.data.arrays import ARRAY_SUFFIXES, open_array_folder, open_npz
from ingot.data.base import Dataset
from ingot.data.files import is_regular, visible
from ingot.data.images import open_image_folder, open_images
from ingot.data.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from ingot.data.sentences import open_sentence_pairs
from ingot.data.text import TABLE_SUFFIXES, TEXT_SUFFIXES, open_sentences
from ingot.errors import DataError

_ACCEPTED = (
    "a folder of images (flat, or one folder per class index), an .npz or .npy, a folder of .npy "
    "or .npz files, a .csv of sentence, sentence, score, or (to calibrate with) a .txt of sentences"
)


def open_dataset(
    path: str | Path,
    preprocessing: Preprocessing | None,
    input_names: Sequence[str],
    *,
    limit: int | None = None,
    classes: int | None = None,
    require_labels: bool = False,
    ignore_labels: bool = False,
) -> Dataset:
    """Opens the data at a path. Nothing is decoded before it is asked for.

    The forms:

    - a folder ``<class index>/*.jpg|jpeg|png``: labelled images;
    - a flat folder of images: no labels, for calibration;
    - an ``.npy`` of the examples of a model with one input, [examples, ...];
    - an ``.npz`` with arrays by input name (or ``x`` when the model has one input), [examples,
      ...], and optional labels ``y``; or with ``images``, uint8 [examples, height, width, 3] (or
      one PNG of square images below each other, as its bytes), and optional ``labels``;
    - a folder of ``.npy`` (one input) or ``.npz`` files (by input name, optional ``y``), one
      example each, batch axis included;
    - a ``.csv`` or ``.tsv``: sentence, sentence, score, with or without a header.

    With ``ignore_labels``, as for calibration, whatever stands where labels would is not read:
    images may lie in folders of any name and depth, arrays have any ``y`` or none, and text may be

    - a ``.txt``: a sentence on each line;
    - a ``.csv`` or ``.tsv`` of any columns: every cell of a column that is not all numbers is a
      sentence.

    Args:
        path: Where the data lies.
        preprocessing: How images or sentences become the model's inputs; arrays need none.
        input_names: The model's inputs, in order.
        limit: How many examples to use at most, spread evenly over the sorted data.
        classes: How many classes the model knows; a label beyond is refused at once.
        require_labels: Refuse data without labels.
        ignore_labels: Read no labels; the data set has none.

    Raises:
        DataError: The data is missing, empty, damaged, mislabelled or does not fit the model.
        UsageError: ``limit`` is not positive.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise DataError(f"no data at {path}: check the path")
    is_regular(path)
    if ignore_labels:
        return _open_unlabelled(path, preprocessing, input_names, limit)
    dataset = _open(path, preprocessing, input_names, limit, classes)
    if require_labels and not dataset.labelled:
        _ = dataset.labels
    return dataset


def _open(
    path: Path,
    preprocessing: Preprocessing | None,
    input_names: Sequence[str],
    limit: int | None,
    classes: int | None,
) -> Dataset:
    if path.is_dir():
        entries = visible(path)
        if not entries:
            raise DataError(f"the folder {path} is empty; expected {_ACCEPTED}")
        if any(entry.suffix in ARRAY_SUFFIXES for entry in entries):
            return open_array_folder(path, input_names, limit=limit, classes=classes)
        images = _image_preprocessing(path, preprocessing, input_names)
        return open_image_folder(path, images, input_names[0], limit=limit, classes=classes)
    if path.suffix in ARRAY_SUFFIXES and path.is_file():
        images_or_none = preprocessing if isinstance(preprocessing, ImagePreprocessing) else None
        return open_npz(path, images_or_none, input_names, limit=limit, classes=classes)
    if path.suffix in TABLE_SUFFIXES:
        return open_sentence_pairs(path, _text_preprocessing(path, preprocessing), limit=limit)
    if path.suffix in TEXT_SUFFIXES:
        raise DataError(
            f"{path} holds sentences without scores, good to calibrate with; to measure accuracy, "
            "give a .csv of sentence, sentence, score"
        )
    raise DataError(f"{path} is of a form that is not known; expected {_ACCEPTED}")


def _open_unlabelled(
    path: Path,
    preprocessing: Preprocessing | None,
    input_names: Sequence[str],
    limit: int | None,
) -> Dataset:
    if path.suffix in TEXT_SUFFIXES and path.is_file():
        return open_sentences(path, _text_preprocessing(path, preprocessing), limit=limit)
    if path.suffix in ARRAY_SUFFIXES and path.is_file():
        images_or_none = preprocessing if isinstance(preprocessing, ImagePreprocessing) else None
        return open_npz(path, images_or_none, input_names, limit=limit, labelled=False)
    if path.is_dir() and not any(entry.suffix in ARRAY_SUFFIXES for entry in visible(path)):
        if not visible(path):
            raise DataError(f"the folder {path} is empty; expected {_ACCEPTED}")
        images = _image_preprocessing(path, preprocessing, input_names)
        return open_images(path, images, input_names[0], limit=limit)
    if path.is_dir():
        return open_array_folder(path, input_names, limit=limit, labelled=False)
    raise DataError(f"{path} is of a form that is not known; expected {_ACCEPTED}")


def _text_preprocessing(path: Path, preprocessing: Preprocessing | None) -> TextPreprocessing:
    if not isinstance(preprocessing, TextPreprocessing):
        raise DataError(
            f"{path} holds sentences, and the model carries no text preprocessing "
            "(tokenizer); use a model exported by Ingot, or store token arrays as .npz"
        )
    return preprocessing


def _image_preprocessing(
    path: Path, preprocessing: Preprocessing | None, input_names: Sequence[str]
) -> ImagePreprocessing:
    if not isinstance(preprocessing, ImagePreprocessing):
        raise DataError(
            f"{path} looks like images, and the model carries no image preprocessing; use a "
            "model exported by Ingot, or store prepared arrays as .npz"
        )
    if len(input_names) != 1:
        raise DataError(
            f"{path} holds images, and the model takes {len(input_names)} inputs "
            f"({', '.join(input_names)}); store arrays by these names as .npz"
        )
    return preprocessing
