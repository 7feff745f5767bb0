"""What the benchmarks calibrate models with, and what they judge them on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ingot.data import Dataset, open_dataset
from ingot.data.arrays import ArrayDataset
from ingot.data.preprocessing import TextPreprocessing
from ingot.files import cache_dir
from ingot.models.catalog import ModelSource
from ingot.models.cifar10 import BUNDLED_CALIBRATION, fetch_cifar10

SAMPLES = 320
"""How many samples, where there are as many."""


def data_folder() -> Path:
    """The folder of the data sets: $INGOT_SHARED_DATA, or one beside the project."""
    given = os.environ.get("INGOT_SHARED_DATA")
    return Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"


def calibration_data(
    source: ModelSource, inputs: Sequence[str], folder: Path, limit: int
) -> Dataset:
    """Samples without labels, of the kind that a model is for.

    Args:
        source: The model.
        inputs: The names of its inputs.
        folder: Holds imagenet_calib/ (images) and sst2/train_6000.tsv (text).
        limit: The most samples to use.

    Raises:
        DataError: The data is missing or does not fit.
    """
    if source.name == "cifar_resnet":
        path = BUNDLED_CALIBRATION
    elif isinstance(source.preprocessing, TextPreprocessing):
        path = folder / "sst2" / "train_6000.tsv"
    else:
        path = folder / "imagenet_calib"
    return open_dataset(path, source.preprocessing, inputs, limit=limit, ignore_labels=True)


def judged_data(
    source: ModelSource, inputs: Sequence[str], folder: Path, limit: int | None
) -> Dataset:
    """Labelled examples that take no part in calibration.

    Args:
        source: The model.
        inputs: The names of its inputs.
        folder: Holds imagenet_val/<class index>/ (images) and stsb/dev.csv (pairs of sentences).
        limit: The most examples to use.

    Raises:
        DataError: The data is missing or does not fit.
    """
    if source.name == "cifar_resnet":
        _, _, images, labels = fetch_cifar10(cache_dir())
        chosen = range(len(images))[:: max(1, len(images) // limit) if limit else 1]
        assert source.preprocessing is not None and source.preprocessing.kind == "image"
        return ArrayDataset(
            Path("cifar10_test"), {inputs[0]: images}, labels, chosen, source.preprocessing
        )
    transformer = isinstance(source.preprocessing, TextPreprocessing)
    test = folder / ("stsb/dev.csv" if transformer else "imagenet_val")
    return open_dataset(test, source.preprocessing, inputs, limit=limit, require_labels=True)
