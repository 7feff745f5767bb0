"""Recognizing what kind of data a path holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingot.calibration.dataset.arrays import ARRAY_SUFFIXES, open_array_folder, open_npz
from ingot.calibration.dataset.base import Dataset
from ingot.calibration.dataset.images import open_image_folder, visible
from ingot.calibration.dataset.sentences import open_sentence_pairs
from ingot.calibration.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from ingot.errors import DataError

_ACCEPTED = (
    "a folder of images (flat, or one folder per class index), an .npz, a folder of .npy or .npz "
    "files, or a .csv of sentence, sentence, score"
)


def open_dataset(
    path: str | Path,
    preprocessing: Preprocessing | None,
    input_names: Sequence[str],
    *,
    limit: int | None = None,
    classes: int | None = None,
    require_labels: bool = False,
) -> Dataset:
    """Opens the data at a path. Nothing is decoded before it is asked for.

    The forms:

    - a folder ``<class index>/*.jpg|jpeg|png``: labelled images;
    - a flat folder of images: no labels, for calibration;
    - an ``.npz`` with arrays by input name (or ``x`` when the model has one input), [examples,
      ...], and optional labels ``y``; or with ``images``, uint8 [examples, height, width, 3] (or
      one PNG of square images below each other, as its bytes), and optional ``labels``;
    - a folder of ``.npy`` (one input) or ``.npz`` files (by input name, optional ``y``), one
      example each, batch axis included;
    - a ``.csv`` or ``.tsv``: sentence, sentence, score, with or without a header.

    Args:
        path: Where the data lies.
        preprocessing: How images or sentences become the model's inputs; arrays need none.
        input_names: The model's inputs, in order.
        limit: How many examples to use at most, spread evenly over the sorted data.
        classes: How many classes the model knows; a label beyond is refused at once.
        require_labels: Refuse data without labels.

    Raises:
        DataError: The data is missing, empty, damaged, mislabelled or does not fit the model.
        UsageError: ``limit`` is not positive.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"no data at {path}: check the path")
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
    if path.suffix == ".npz":
        images_or_none = preprocessing if isinstance(preprocessing, ImagePreprocessing) else None
        return open_npz(path, images_or_none, input_names, limit=limit, classes=classes)
    if path.suffix in {".csv", ".tsv"}:
        if not isinstance(preprocessing, TextPreprocessing):
            raise DataError(
                f"{path} holds sentences, and the model carries no text preprocessing "
                "(tokenizer); use a model exported by Ingot, or store token arrays as .npz"
            )
        return open_sentence_pairs(path, preprocessing, limit=limit)
    raise DataError(f"{path} is of a form that is not known; expected {_ACCEPTED}")


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
