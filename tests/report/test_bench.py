"""Rows of a benchmark's table."""

import dataclasses

import numpy as np
import onnx
import pytest

from ingot.compiler.ingest import ingest
from ingot.errors import InputError, UsageError
from ingot.report.bench import bench, bound_model, random_arrays, time_prepared
from ingot.report.measure import MeasureSettings, choose_cpus
from ingot.report.process import InputSpec, Worker
from ingot.report.variants import Prepared, Variant, prepare
from ingot.runtime.manifest import KernelCost
from tests.conftest import small_network
from tests.costs import with_costs

SETTINGS = [MeasureSettings(threads=1, cpus=choose_cpus(1), runs=20, rounds=2)]


def test_a_model_against_a_peer(classifier):
    (row,) = bench(classifier, name="tiny", against=["onnxruntime"], settings=SETTINGS)
    assert (row.model, row.threads, row.batch, row.precision) == ("tiny", 1, 1, "fp32")
    assert row.ratio == pytest.approx(row.peers["onnxruntime"] / row.ingot_ms)
    assert row.ratio_low <= row.ratio <= row.ratio_high
    assert row.compile_s > 0
    assert row.peak_rss_mb > 1
    assert set(row.latency) == {"ingot", "onnxruntime"}
    assert row.peers_peak_rss_mb == {"onnxruntime": row.peer_peak_rss_mb}


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


def test_percent_of_roofline_is_of_the_peak_measured_beside(classifier, tmp_path):
    from ingot.compiler.build import compile_model

    path = compile_model(classifier, tmp_path / "m.ingot").path
    cost = KernelCost("matmul", operations=5_000, bytes=100, calls=2)
    names = with_costs(path, tmp_path / "costed.ingot", {"x": np.zeros((1, 4), "f4")}, cost)
    (row,) = bench(None, artifact=tmp_path / "costed.ingot", name="m", settings=SETTINGS)
    gops = 2 * 5_000 * len(names) / row.ingot_ms / 1e6
    assert row.percent_of_roofline == pytest.approx(100 * gops / row.peak_gops)
    assert row.peak_gops > 0.1
    # The probe is no variant.
    assert set(row.latency) == {"ingot"}


def test_an_int8_artifact_is_held_to_the_peak_of_integers(classifier, tmp_path, monkeypatch):
    from ingot.compiler.build import compile_model
    from ingot.report import bench as module

    started = []

    class Spy(Worker):
        def __init__(self, name, engine, path, **how):
            started.append(engine)
            super().__init__(name, engine, path, **how)

    monkeypatch.setattr(module, "Worker", Spy)
    path = compile_model(classifier, tmp_path / "m.ingot").path
    cost = KernelCost("integer_matmul", operations=5_000, bytes=100, calls=1)
    inputs = {"x": np.zeros((1, 4), "f4")}
    with_costs(path, tmp_path / "costed.ingot", inputs, cost, precision="int8")
    (row,) = bench(None, artifact=tmp_path / "costed.ingot", name="m", settings=SETTINGS)
    assert started == ["ingot", "integer_probe"]
    assert (row.precision, row.peak_gops > 0.1) == ("int8", True)


class TestSeveralVariants:
    @pytest.fixture(scope="class")
    def prepared(self, tmp_path_factory):
        """Ingot's artifact of a model, a second one, and a small and a large model for a peer."""
        folder = tmp_path_factory.mktemp("variants")
        model = folder / "small.onnx"
        onnx.save(small_network(), model)
        large = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[N, 3, 16, 16] image) => (float '
            "y) { a = MatMul(image, image) b = Tile(a, k) c = Exp(b) y = ReduceSum<keepdims=0>(c)}"
        )
        repeats = onnx.numpy_helper.from_array(np.array([1, 40, 10, 10]), "k")
        large.graph.initializer.append(repeats)
        onnx.save(large, folder / "large.onnx")
        own = prepare(Variant.ingot("fp32"), model, 0, folder)
        other = dataclasses.replace(own, variant=dataclasses.replace(own.variant, name="other"))
        peers = [
            Prepared(Variant(file, "onnxruntime"), folder / f"{file}.onnx", 0, "fp32", None)
            for file in ("large", "small")
        ]
        return [own, other, *peers]

    def test_the_fastest_of_a_peer_counts_and_ingots_others_do_not(self, prepared):
        inputs = {"image": np.zeros((1, 3, 16, 16), "f4")}
        row, measured = time_prepared("net", prepared, inputs, SETTINGS[0])
        assert [found.name for found in measured] == [p.variant.name for p in prepared]
        large, small = (float(np.median(found.milliseconds)) for found in measured[2:])
        assert small < large
        assert row.peers == {"onnxruntime": small}
        assert row.ratio == pytest.approx(small / row.ingot_ms)
        assert row.peer_peak_rss_mb == measured[3].peak_bytes / 1e6
        assert set(row.latency) == {"ingot", "onnxruntime"}


def test_without_costs_there_is_no_percentage(classifier, tmp_path):
    from ingot.compiler.build import compile_model

    path = compile_model(classifier, tmp_path / "m.ingot").path
    cost = KernelCost("matmul", operations=None, bytes=None, calls=1)
    with_costs(path, tmp_path / "open.ingot", {"x": np.zeros((1, 4), "f4")}, cost)
    (row,) = bench(None, artifact=tmp_path / "open.ingot", name="m", settings=SETTINGS)
    assert (row.percent_of_roofline, row.peak_gops) == (None, None)


class TestShapes:
    def test_an_open_batch_is_bound_for_all(self, make_classifier):
        path = make_classifier(batch="N")
        (row,) = bench(path, name="tiny", against=["onnxruntime"], settings=SETTINGS)
        assert row.batch == 1
        shapes = {"x": (3, 4)}
        (row,) = bench(path, name="tiny", against=["onnxruntime"], settings=SETTINGS, shapes=shapes)
        assert row.batch == 3

    def test_an_artifact_of_a_fixed_shape_is_timed_on_it(self, make_classifier, tmp_path):
        from ingot.compiler.build import compile_model

        path = make_classifier(batch="N")
        artifact = compile_model(path, tmp_path / "m.ingot", shapes={"x": (5, 4)}).path
        (row,) = bench(
            path, artifact=artifact, name="m", against=["onnxruntime"], settings=SETTINGS
        )
        assert row.batch == 5

    def test_peers_get_the_file_itself_where_nothing_is_open(self, classifier, tmp_path):
        inputs = {"x": np.zeros((1, 4), "f4")}
        source = ingest(classifier, simplified=False)
        assert bound_model(source, classifier, inputs, tmp_path) == classifier

    def test_peers_get_a_model_of_the_shape_that_is_timed(self, make_classifier, tmp_path):
        open_model = make_classifier(batch="N")
        inputs = {"x": np.zeros((7, 4), "f4")}
        source = ingest(open_model, simplified=False)
        path = bound_model(source, open_model, inputs, tmp_path / "made.onnx")
        shapes = [
            [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            for value in (*onnx.load(path).graph.input, *onnx.load(path).graph.output)
        ]
        assert shapes == [[7, 4], [7, 3]]
        # What was ingested is as it was.
        assert not source.original.graph.inputs[0].shape.is_static()


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
