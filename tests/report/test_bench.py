"""Rows of a benchmark's table."""

import numpy as np
import pytest

from ingot.errors import InputError, UsageError
from ingot.report.bench import bench, random_arrays
from ingot.report.measure import MeasureSettings, choose_cpus
from ingot.report.process import InputSpec

SETTINGS = [MeasureSettings(threads=1, cpus=choose_cpus(1), runs=20, rounds=2)]


def test_a_model_against_a_peer(classifier):
    (row,) = bench(classifier, name="tiny", against=["onnxruntime"], settings=SETTINGS)
    assert (row.model, row.threads, row.batch, row.precision) == ("tiny", 1, 1, "fp32")
    assert row.ratio == pytest.approx(row.peers["onnxruntime"] / row.ingot_ms)
    assert row.ratio_low <= row.ratio <= row.ratio_high
    assert row.compile_s > 0
    assert row.peak_rss_mb > 1
    assert set(row.latency) == {"ingot", "onnxruntime"}
    assert row.percent_of_roofline is None


def test_an_artifact_alone(classifier, tmp_path):
    from ingot.compiler.build import compile_model

    artifact = compile_model(classifier, tmp_path / "m.ingot")
    (row,) = bench(None, artifact=artifact.path, name="m", settings=SETTINGS)
    assert row.artifact_mb == artifact.size / 1e6
    assert (row.ratio, row.peers, row.peer_peak_rss_mb) == (None, {}, None)
    stages = artifact.manifest.measured["stage_seconds"]
    assert row.compile_s == pytest.approx(sum(stages.values()))
    with pytest.raises(UsageError, match="needs the source model"):
        bench(None, artifact=artifact.path, name="m", against=["onnxruntime"], settings=SETTINGS)


class TestRandomArrays:
    def test_shapes_and_types_are_those_of_the_inputs(self):
        specs = [InputSpec("x", "float32", ("N", 3)), InputSpec("ids", "int64", (1, 4))]
        arrays = random_arrays(specs, {})
        assert arrays["x"].shape == (1, 3)
        assert arrays["x"].dtype == np.float32
        assert set(arrays["ids"].ravel().tolist()) <= {0, 1}

    def test_an_open_dimension_needs_a_shape(self):
        specs = [InputSpec("ids", "int64", ("N", "L"))]
        with pytest.raises(UsageError, match=r"--shape ids=1x…"):
            random_arrays(specs, {})
        assert random_arrays(specs, {"ids": (2, 7)})["ids"].shape == (2, 7)


def test_a_shape_for_an_input_that_is_none_is_refused(classifier):
    with pytest.raises((UsageError, InputError), match="z"):
        bench(classifier, name="tiny", settings=SETTINGS, shapes={"z": (1, 4)})
