"""Calibration runs a model over data once, keeps what it finds, and names what is wrong."""

import tracemalloc

import numpy as np
import pytest

from ingot.calibration import activations, collection
from ingot.calibration.collection import ENOUGH_SAMPLES, Calibration
from ingot.errors import DataError, ModelError, UsageError
from tests.graphs import parse

MODEL = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 2, 4, 4] x) => (float[N, 2] y) <float[2, 2, 1, 1] w = {1, 2, 3, 4}> {
 c = Conv(x, w)
 r = Relu(c)
 p = GlobalAveragePool(r)
 y = Flatten(p)
}"""
GENERATOR = np.random.default_rng(0)
SAMPLES = [
    {"x": GENERATOR.normal(size=(1, 2, 4, 4)).astype(np.float32)} for _ in range(ENOUGH_SAMPLES)
]
WEIGHT = np.array([[1.0, 2.0], [3.0, 4.0]])
CONVOLVED = np.stack([np.einsum("oc,nchw->nohw", WEIGHT, sample["x"]) for sample in SAMPLES])


@pytest.fixture
def model():
    return parse(MODEL)


@pytest.fixture
def runs(monkeypatch):
    """The names of the samples that ONNX Runtime ran."""
    seen = []
    run = activations.Activations.run

    def spy(self, sample):
        seen.append(sample.name)
        yield from run(self, sample)

    monkeypatch.setattr(activations.Activations, "run", spy)
    return seen


def test_statistics_are_those_of_the_activations(model):
    found = Calibration(SAMPLES).statistics(model, ["c", "r", "x", "y"])
    assert list(found) == ["c", "r", "x", "y"]
    assert found["c"].maximum == pytest.approx(CONVOLVED.max(), rel=1e-5)
    assert found["r"].minimum == 0.0
    assert found["r"].mean == pytest.approx(np.maximum(CONVOLVED, 0).mean(), rel=1e-5)
    np.testing.assert_allclose(found["c"].channels.mean, CONVOLVED.mean((0, 1, 3, 4)), rtol=1e-4)
    assert found["x"].count == found["c"].count == CONVOLVED.size
    assert found["y"].channels.axis == 1


def test_every_sample_runs_once_and_is_told(model, runs):
    told = []
    calibration = Calibration(SAMPLES, progress=lambda _, done, total: told.append((done, total)))
    calibration.statistics(model, ["c", "r", "y"])
    assert len(runs) == len(SAMPLES)
    assert told == [(index + 1, len(SAMPLES)) for index in range(len(SAMPLES))]
    assert calibration.notes == ()


def test_means_are_those_per_channel(model, runs):
    means = Calibration(SAMPLES).means(model, ["c"], limit=3)
    chosen = [0, len(SAMPLES) // 3, 2 * len(SAMPLES) // 3]
    np.testing.assert_allclose(means["c"], CONVOLVED[chosen].mean((0, 1, 3, 4)), rtol=1e-4)
    assert len(runs) == 3


def test_means_of_what_has_no_channels_are_refused():
    model = parse("""<ir_version: 10, opset_import: ["":21]>
    g (float[N] x) => (float[N] y) { y = Neg(x) }""")
    with pytest.raises(DataError, match="tensor 'y' has no channels"):
        Calibration([{"x": np.ones(3, np.float32)}]).means(model, ["y"])


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_outputs_are_the_tensors_of_each_sample(model, monkeypatch, memory):
    monkeypatch.setattr(activations, "MEMORY", memory)
    found = list(Calibration(SAMPLES).outputs(model, ["r", "c"], limit=2))
    assert [list(values) for values in found] == [["r", "c"]] * 2
    for values, expected in zip(found, CONVOLVED[:: len(SAMPLES) // 2], strict=True):
        np.testing.assert_allclose(values["c"], expected, rtol=1e-4, atol=1e-5)


def test_channels_beside_a_convolution_are_on_axis_1_in_rank_3():
    model = parse(
        """<ir_version: 10, opset_import: ["":21]>
    g (float[N, 2, 5] x) => (float[N, 3, 2] z) <float[3, 2, 1] w = {1, 2, 3, 4, 5, 6}> {
     c = Conv(x, w)
     y = Transpose<perm = [0, 2, 1]>(c)
     z = Gather<axis = 2>(c, i)
    }""".replace("> {", ", int64[2] i = {0, 1}> {", 1)
    )
    samples = [{"x": np.ones((1, 2, 5), np.float32)}]
    found = Calibration(samples).statistics(model, ["x", "c", "y"])
    assert [found[name].channels.axis for name in ("x", "c", "y")] == [1, 1, 2]


@pytest.mark.parametrize("count", [1, ENOUGH_SAMPLES - 1])
def test_too_few_samples_are_noted_once(model, count):
    calibration = Calibration(SAMPLES[:count])
    calibration.statistics(model, ["c"])
    calibration.statistics(model, ["r"])
    (note,) = calibration.notes
    assert note.startswith(f"calibrated on {count} sample")
    assert f"give {ENOUGH_SAMPLES} or more" in note


@pytest.mark.parametrize("data", [[], iter(())])
def test_no_samples_are_an_error(model, data):
    with pytest.raises(DataError, match="holds no samples; give at least one"):
        Calibration(data).statistics(model, ["c"])


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_what_is_not_finite_is_named_with_its_sample(model, value, kind):
    broken = {"x": SAMPLES[0]["x"].copy()}
    broken["x"][0, 1, 2, 3] = value
    with pytest.raises(DataError, match=rf"tensor 'c' is {kind} at \[0, 0, 2, 3\] for sample 1"):
        Calibration([SAMPLES[0], broken]).statistics(model, ["c"])


def test_a_sample_that_does_not_fit_is_named(model):
    wrong = {"x": np.zeros((1, 3, 4, 4), np.float32)}
    with pytest.raises(DataError, match=r"input 'x' of sample 1 .*expects \[N, 2, 4, 4\]"):
        Calibration([SAMPLES[0], wrong]).statistics(model, ["c"])


def test_an_unknown_tensor_is_refused(model):
    with pytest.raises(UsageError, match="no tensor 'nowhere'"):
        Calibration(SAMPLES).statistics(model, ["nowhere"])


def test_a_tensor_of_text_is_refused():
    model = parse("""<ir_version: 10, opset_import: ["":21]>
    g (float[N] x) => (string[N] y) { y = Cast<to = 8>(x) }""")
    with pytest.raises(ModelError, match="tensor 'y' holds .* no numbers"):
        Calibration([{"x": np.ones(2, np.float32)}]).statistics(model, ["y"])


def test_a_fixed_batch_is_filled():
    model = parse(MODEL.replace("float[N, 2, 4, 4]", "float[4, 2, 4, 4]"))
    told = []
    calibration = Calibration(
        SAMPLES[:6], progress=lambda _, done, total: told.append((done, total))
    )
    found = calibration.statistics(model, ["c"])
    assert found["c"].samples == 2
    assert found["c"].maximum == pytest.approx(CONVOLVED[:6].max(), rel=1e-5)
    assert told == [(4, 6), (6, 6)]


def test_memory_does_not_grow_with_the_samples(model):
    size = 1 << 20

    def samples():
        for seed in range(64):
            x = np.random.default_rng(seed).normal(size=(size // 128, 2, 4, 4))
            yield {"x": x.astype(np.float32)}

    tracemalloc.start()
    found = Calibration(samples(), threads=1).statistics(model, ["c", "r"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["c"].count == 64 * size // 4
    assert peak < 24 * size


class TestCache:
    def test_what_is_known_is_not_run_again(self, model, runs, tmp_path):
        first = Calibration(SAMPLES, cache=tmp_path).statistics(model, ["c", "r"])
        again = Calibration(iter(SAMPLES), cache=tmp_path).statistics(parse(MODEL), ["r", "c"])
        assert len(runs) == len(SAMPLES)
        assert list(again) == ["r", "c"]
        assert again["c"].moving_maximum == first["c"].moving_maximum
        np.testing.assert_array_equal(again["c"].histogram.counts, first["c"].histogram.counts)

    def test_only_what_is_missing_is_run(self, model, tmp_path, monkeypatch):
        asked = []
        original = collection.Activations

        def spy(model, tensors, **options):
            asked.append(list(tensors))
            return original(model, tensors, **options)

        monkeypatch.setattr(collection, "Activations", spy)
        Calibration(SAMPLES, cache=tmp_path).statistics(model, ["c"])
        Calibration(SAMPLES, cache=tmp_path).statistics(model, ["c", "r"])
        Calibration(SAMPLES, cache=tmp_path).statistics(model, ["r"])
        assert asked == [["c"], ["r"]]

    def test_values_are_counted_when_they_are_asked_for(self, model, runs, tmp_path):
        calibration = Calibration(SAMPLES, cache=tmp_path)
        extremes = calibration.statistics(model, ["c"], histograms=False)["c"]
        counted = calibration.statistics(model, ["c"])["c"]
        assert extremes.histogram.total == 0
        assert counted.histogram.total == CONVOLVED.size
        assert (extremes.minimum, extremes.maximum) == (counted.minimum, counted.maximum)
        assert len(runs) == 2 * len(SAMPLES)
        assert calibration.statistics(model, ["c"], histograms=False)["c"].histogram.total
        assert len(runs) == 2 * len(SAMPLES)

    def test_other_data_is_run(self, model, runs, tmp_path):
        Calibration(SAMPLES, cache=tmp_path).statistics(model, ["c"])
        Calibration(SAMPLES[1:], cache=tmp_path).statistics(model, ["c"])
        assert len(runs) == 2 * len(SAMPLES) - 1

    def test_a_damaged_file_is_noted_and_replaced(self, model, runs, tmp_path):
        Calibration(SAMPLES, cache=tmp_path).statistics(model, ["c"])
        (file,) = tmp_path.iterdir()
        file.write_bytes(b"damaged")
        calibration = Calibration(SAMPLES, cache=tmp_path)
        calibration.statistics(model, ["c"])
        (note,) = calibration.notes
        assert "is damaged; the statistics were computed again" in note

    def test_a_cache_that_cannot_be_written_is_noted(self, model, runs, tmp_path):
        (tmp_path / "file").touch()
        calibration = Calibration(SAMPLES, cache=tmp_path / "file" / "cache")
        assert calibration.statistics(model, ["c"])
        (note,) = calibration.notes
        assert note.startswith("the statistics are not kept for the next time: cannot write")
        Calibration(SAMPLES, cache=tmp_path).statistics(model, ["c"])
        assert len(runs) == 2 * len(SAMPLES)

    def test_too_few_samples_are_noted_also_from_the_cache(self, model, tmp_path):
        for _ in range(2):
            calibration = Calibration(SAMPLES[:3], cache=tmp_path)
            calibration.statistics(model, ["c"])
            assert len(calibration.notes) == 1
