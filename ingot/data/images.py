"""Images in folders: one folder per class index, or a flat folder without labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from ingot.data.base import Array, Dataset, Example, choose
from ingot.data.files import file_content, files_below, files_in, visible
from ingot.data.metrics import Metric, Top1, Top5
from ingot.data.preprocessing import MOST_PIXELS, ImagePreprocessing
from ingot.errors import DataError, first_line

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

_CLASS_INDEX = re.compile(r"[0-9]+")


class ImageFolder(Dataset):
    """Image files, decoded and prepared one at a time.

    Attributes:
        description: The folder's name and how many images of it are used.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[tuple[Path, int | None]],
        preprocessing: ImagePreprocessing,
        input_name: str,
    ) -> None:
        """Takes the files, each with its class index or None, in the order of the data set."""
        self._folder = folder
        self._files = list(files)
        self._preprocessing = preprocessing
        self._input_name = input_name
        self.description = f"{len(self._files):,} images of {folder.name}"

    def __len__(self) -> int:
        """The number of images."""
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        """Decodes and prepares one image."""
        path, label = self._files[index]
        name = path.relative_to(self._folder).as_posix()
        try:
            values = self._preprocessing.apply(decode_image(path, str(path)))
        except DataError as error:
            if str(path) in str(error):
                raise
            raise DataError(f"image {path}: {error}") from error
        return Example(name, ({self._input_name: values},), label)

    @property
    def labelled(self) -> bool:
        """Whether the images lie in class folders."""
        return self._files[0][1] is not None

    @property
    def labels(self) -> Array:
        """The class indices, int64 [images]."""
        if not self.labelled:
            raise self._no_labels()
        return np.array([label for _, label in self._files], dtype=np.int64)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Top-1 and top-5 when there are labels."""
        return (Top1(), Top5()) if self.labelled else ()

    def _content(self) -> Iterator[bytes]:
        for path, _ in self._files:
            yield from file_content(path.relative_to(self._folder).as_posix(), path)


def open_image_folder(
    folder: Path,
    preprocessing: ImagePreprocessing,
    input_name: str,
    *,
    limit: int | None,
    classes: int | None,
) -> ImageFolder:
    """Lists a folder of images; see ``open_dataset`` for the forms and the errors."""
    class_folders = [entry for entry in visible(folder) if entry.is_dir()]
    files: list[tuple[Path, int | None]] = []
    if class_folders:
        for class_folder in class_folders:
            label = _class_index(class_folder, classes)
            files += [(path, label) for path in files_in(class_folder, IMAGE_SUFFIXES)]
    else:
        files += [(path, None) for path in files_in(folder, IMAGE_SUFFIXES)]
    if not files:
        raise _no_images(folder)
    return ImageFolder(folder, choose(files, limit), preprocessing, input_name)


def open_images(
    folder: Path, preprocessing: ImagePreprocessing, input_name: str, *, limit: int | None
) -> ImageFolder:
    """Lists all images below a folder, however deep, without labels."""
    files = [(path, None) for path in files_below(folder, IMAGE_SUFFIXES)]
    if not files:
        raise _no_images(folder)
    return ImageFolder(folder, choose(files, limit), preprocessing, input_name)


def decode_image(file: Path | BinaryIO, name: str) -> npt.NDArray[np.uint8]:
    """Decodes an image file to uint8 RGB [height, width, 3].

    Args:
        file: The file, or its path.
        name: What to call it in a message.

    Raises:
        DataError: The file is no image, damaged, or of so many pixels that it is likely made to
            fill the memory.
    """
    try:
        with Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"it claims {image.width}x{image.height} pixels")
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except Exception as error:  # of many types: each format's decoder has its own
        raise DataError(
            f"image {name} cannot be decoded ({first_line(error)}); replace or remove it"
        ) from error


def _no_images(folder: Path) -> DataError:
    return DataError(f"{folder} holds no .jpg, .jpeg or .png images; check the path")


def _class_index(folder: Path, classes: int | None) -> int:
    if not _CLASS_INDEX.fullmatch(folder.name):
        raise DataError(
            f"class folder {folder} is not named by a class index; name each folder by the "
            "integer that the model gives for its class (0, 1, …)"
        )
    index = int(folder.name)
    if classes is not None and index >= classes:
        raise DataError(
            f"class folder {folder} is out of range: the model has {classes:,} classes "
            f"(0 to {classes - 1}); check that the labels are the model's"
        )
    return index
