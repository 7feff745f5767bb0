"""Data for a model: opened by the preprocessing that the model carries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import onnx_ir as ir

from ingot.calibration.collection import Calibration
from ingot.data import Dataset, open_dataset
from ingot.data.preprocessing import Preprocessing, read_metadata
from ingot.files import cache_dir
from ingot.progress import Progress, no_progress

DataLike: TypeAlias = "Dataset | str | Path | Iterable[Mapping[str, Any]]"


def open_model_data(
    data: Dataset | str | Path,
    model: ir.Model,
    folder: Path,
    *,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    ignore_labels: bool = False,
) -> Dataset:
    """Opens data for a model.

    Args:
        data: A data set, which is returned as it is, or where it lies.
        model: The model as it was given.
        folder: Where the model's file lies, and a tokenizer beside it.
        preprocessing: How images or sentences become inputs; by default what the model carries.
        limit: The most examples to use.
        ignore_labels: Take data as it comes, with labels or without, to calibrate with.

    Raises:
        DataError: The data is missing, damaged or does not fit; see ``open_dataset``.
    """
    if isinstance(data, Dataset):
        return data
    if preprocessing is None:
        preprocessing = read_metadata(model.metadata_props, folder)
    inputs = [str(v.name) for v in model.graph.inputs if not v.is_initializer()]
    shape = model.graph.outputs[0].shape
    last = shape[1] if shape is not None and len(shape) == 2 else None
    classes = last if isinstance(last, int) else None
    return open_dataset(
        data, preprocessing, inputs, limit=limit, classes=classes, ignore_labels=ignore_labels
    )


def open_calibration(
    data: DataLike,
    model: ir.Model,
    folder: Path,
    *,
    limit: int | None = None,
    progress: Progress = no_progress,
) -> Calibration:
    """Opens calibration data for a model; statistics are kept in the user's cache.

    Args:
        data: A data set, a path, or any iterable of mappings from input name to array.
        model: The model as it was given.
        folder: Where the model's file lies.
        limit: The most examples to use.
        progress: Told of each sample that is run.

    Raises:
        DataError: The data is missing, damaged or does not fit the model.
    """
    if isinstance(data, (str, Path)):
        data = open_model_data(data, model, folder, limit=limit, ignore_labels=True)
    return Calibration(data, limit=limit, cache=cache_dir() / "calibration", progress=progress)
