"""MLPerf Tiny's published checkpoints, where the shared data is."""

from pathlib import Path

import pytest

from tests.conftest import shared_data

CHECKPOINTS = {
    "resnet8": "pretrainedResnet.h5",
    "vww_mobilenet": "vww_96.h5",
    "ds_cnn": "kws_ref_model_float32.tflite",
    "autoencoder": "ad01_fp32.tflite",
}


def mlperf_tiny(file: str) -> Path:
    """The path of a file of MLPerf Tiny; skips the test where it is not, or cannot be read."""
    pytest.importorskip(
        "h5py" if file.endswith(".h5") else "tflite",
        reason="the extra checkpoints is not installed",
    )
    data = shared_data()
    path = None if data is None else data / "mlperf_tiny" / file
    if path is None or not path.exists():
        pytest.skip(f"there is no mlperf_tiny/{file} in the shared data (INGOT_SHARED_DATA)")
    return path
