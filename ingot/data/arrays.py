"""Arrays on disk: one ``.npz`` of many examples, or a folder of ``.npy``/``.npz`` examples."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ingot.data.base import (
    Array,
    Dataset,
    Example,
    array_content,
    choose,
)
from ingot.data.files import file_content, files_in
from ingot.data.images import decode_image
from ingot.data.metrics import Metric, Top1, Top5, check_class_labels
from ingot.data.preprocessing import ImagePreprocessing
from ingot.errors import DataError

ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
_LABEL_KEYS = ("y", "labels", "label")


class ArrayDataset(Dataset):
    """Examples stacked along the first axis of arrays that are held in memory.

    Attributes:
        description: The file's name and how many examples of it are used.
    """

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, Array],
        labels: Array | None,
        indices: Sequence[int],
        preprocessing: ImagePreprocessing | None,
    ) -> None:
        """Takes arrays by input name, [examples, ...], and which examples to use.

        With ``preprocessing`` the one array is uint8 [examples, height, width, 3].
        """
        self._arrays = dict(arrays)
        self._labels = None if labels is None else labels[list(indices)]
        self._indices = list(indices)
        self._preprocessing = preprocessing
        kind = "images" if preprocessing is not None else "examples"
        self.description = f"{len(self._indices):,} {kind} of {path.name}"

    def __len__(self) -> int:
        """The number of examples."""
        return len(self._indices)

    def __getitem__(self, index: int) -> Example:
        """Slices one example, and prepares it when it is an image."""
        row = self._indices[index]
        if self._preprocessing is None:
            inputs = {name: array[row : row + 1] for name, array in self._arrays.items()}
        else:
            try:
                inputs = {
                    name: self._preprocessing.apply(array[row])
                    for name, array in self._arrays.items()
                }
            except DataError as error:
                raise DataError(f"example {row}: {error}") from error
        label = None if self._labels is None else self._labels[index].item()
        return Example(f"example {row}", (inputs,), label)

    @property
    def labelled(self) -> bool:
        """Whether the file holds labels."""
        return self._labels is not None

    @property
    def labels(self) -> Array:
        """The labels, [examples]."""
        if self._labels is None:
            raise self._no_labels()
        return self._labels

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Top-1 and top-5 when the labels are classes."""
        return _class_metrics(self._labels)

    def _content(self) -> Iterator[bytes]:
        for name, array in sorted(self._arrays.items()):
            yield from array_content(name, array[self._indices])
        if self._labels is not None:
            yield from array_content("labels", self._labels)


class ArrayFolder(Dataset):
    """One file per example: ``.npy`` for a single input, ``.npz`` with arrays by input name.

    Attributes:
        description: The folder's name and how many files of it are used.
    """

    def __init__(
        self, folder: Path, files: Sequence[Path], input_names: Sequence[str], *, labelled: bool
    ) -> None:
        """Takes the files in the order of the data set; labels are read, inputs are not yet."""
        self._folder = folder
        self._files = list(files)
        self._input_names = tuple(input_names)
        self.description = f"{len(self._files):,} arrays of {folder.name}"
        self._labels = self._read_labels() if labelled else None

    def __len__(self) -> int:
        """The number of files."""
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        """Reads one file."""
        path = self._files[index]
        arrays = _load(path)
        inputs = {} if path.suffix == ".npy" else dict(arrays)
        if path.suffix == ".npy":
            if len(self._input_names) != 1:
                raise DataError(
                    f"{path} holds one array, the model takes {len(self._input_names)} inputs "
                    f"({', '.join(self._input_names)}); store an .npz with arrays by these names"
                )
            inputs = {self._input_names[0]: arrays["x"]}
        inputs = _select_inputs(path, inputs, self._input_names)
        label = None if self._labels is None else self._labels[index].item()
        return Example(path.name, (inputs,), label)

    @property
    def labelled(self) -> bool:
        """Whether every file holds a label."""
        return self._labels is not None

    @property
    def labels(self) -> Array:
        """The labels, [files]."""
        if self._labels is None:
            raise self._no_labels()
        return self._labels

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Top-1 and top-5 when the labels are classes."""
        return _class_metrics(self._labels)

    def _read_labels(self) -> Array | None:
        labels = [
            _find_label(path, _load(path)) if path.suffix == ".npz" else None
            for path in self._files
        ]
        present = [label for label in labels if label is not None]
        if not present:
            return None
        if len(present) != len(labels):
            missing = self._files[labels.index(None)]
            raise DataError(
                f"{missing} has no label while others in {self._folder} have one; add 'y' to it"
            )
        if any(label.size != 1 for label in present):
            raise DataError(f"a label in {self._folder} is no single number; store 'y' as a scalar")
        return np.array([label.reshape(()).item() for label in present])

    def _content(self) -> Iterator[bytes]:
        for path in self._files:
            yield from file_content(path.name, path)


def open_npz(
    path: Path,
    preprocessing: ImagePreprocessing | None,
    input_names: Sequence[str],
    *,
    limit: int | None,
    classes: int | None = None,
    labelled: bool = True,
) -> ArrayDataset:
    """Opens an ``.npz`` or ``.npy`` of many examples; see ``open_dataset`` for forms and errors."""
    stored = _load(path)
    labels = _find_label(path, stored) if labelled else None
    if "images" in stored and "images" not in input_names:
        if preprocessing is None:
            raise DataError(
                f"{path} holds images, and the model carries no preprocessing to prepare them; "
                "store prepared arrays as 'x' instead"
            )
        images = _raw_images(path, stored["images"])
        arrays = {input_names[0]: images}
    else:
        arrays = _select_inputs(path, stored, input_names)
        preprocessing = None
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if labels is not None:
        lengths["labels"] = len(labels) if labels.ndim == 1 else -1
    if len(set(lengths.values())) != 1:
        raise DataError(
            f"the arrays in {path} do not match in length: "
            + ", ".join(f"{name} has {length}" for name, length in lengths.items())
        )
    if not all(array.nbytes for array in arrays.values()):
        raise DataError(f"{path} is empty: its arrays hold no examples")
    if labels is not None and np.issubdtype(labels.dtype, np.integer):
        check_class_labels(labels, classes, str(path))
    indices = choose(range(next(iter(lengths.values()))), limit)
    return ArrayDataset(path, arrays, labels, indices, preprocessing)


def open_array_folder(
    folder: Path,
    input_names: Sequence[str],
    *,
    limit: int | None,
    classes: int | None = None,
    labelled: bool = True,
) -> ArrayFolder:
    """Opens a folder of array files; see ``open_dataset`` for the forms and the errors."""
    files = files_in(folder, ARRAY_SUFFIXES)
    if not files:
        raise DataError(f"{folder} holds no .npy or .npz files; check the path")
    dataset = ArrayFolder(folder, choose(files, limit), input_names, labelled=labelled)
    if dataset.labelled and np.issubdtype(dataset.labels.dtype, np.integer):
        check_class_labels(dataset.labels, classes, str(folder))
    return dataset


def _load(path: Path) -> dict[str, Array]:
    """Reads the arrays of an ``.npz``, or that of an ``.npy`` as 'x'."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if path.suffix == ".npy":
            return {"x": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # of a dozen types, by zipfile, zlib and NumPy's header parser
        raise DataError(
            f"{path} cannot be read as NumPy arrays: it is damaged or of another format"
        ) from error


def _find_label(path: Path, arrays: Mapping[str, Array]) -> Array | None:
    for key in _LABEL_KEYS:
        if key in arrays:
            label = arrays[key]
            if not np.issubdtype(label.dtype, np.number):
                raise DataError(f"{key!r} in {path} holds {label.dtype}, not numbers")
            return label
    return None


def _raw_images(path: Path, images: Array) -> Array:
    """The images as uint8 [examples, height, width, 3], unpacked from a column where they are."""
    if images.dtype == np.uint8 and images.ndim == 1:
        column = decode_image(io.BytesIO(images.tobytes()), f"'images' in {path}")
        rows, width, channels = column.shape
        if rows % width == 0:
            return column.reshape(rows // width, width, width, channels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(
            f"'images' in {path} must be uint8 [examples, height, width, 3], or one PNG of square "
            f"images below each other as uint8 [bytes], not {images.dtype} {list(images.shape)}"
        )
    return images


def _select_inputs(
    path: Path, arrays: Mapping[str, Array], input_names: Sequence[str]
) -> dict[str, Array]:
    if all(name in arrays for name in input_names):
        return {name: arrays[name] for name in input_names}
    if len(input_names) == 1 and "x" in arrays:
        return {input_names[0]: arrays["x"]}
    wanted = [*input_names] if len(input_names) > 1 else [input_names[0], "x"]
    raise DataError(
        f"{path} holds {', '.join(map(repr, arrays)) or 'nothing'}, not the model's input; store "
        + (" and " if len(input_names) > 1 else " or ").join(map(repr, wanted))
    )


def _class_metrics(labels: Array | None) -> tuple[Metric, ...]:
    if labels is None or not np.issubdtype(labels.dtype, np.integer):
        return ()
    return (Top1(), Top5())
