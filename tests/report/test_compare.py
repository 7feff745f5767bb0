"""Whole comparisons: real processes, tiny models."""

import numpy as np
import onnx
import pytest

import ingot.report.compare as module
from ingot.errors import DataError, ModelError, UsageError
from ingot.report.budgets import Budget
from ingot.report.compare import Variant, compare

FAST = {"threads": 1, "runs": 20, "seconds": 5.0}


@pytest.fixture
def two_models(monkeypatch, classifier, make_classifier):
    """Two peers of which the second loads a perturbed model, so that accuracy differs."""
    other = make_classifier("noisy", noise=0.5)
    prepare = module.prepare

    def prepare_second_with_noise(variant, model, *rest, **options):
        ready = prepare(variant, model, *rest, **options)
        if variant.name == "perturbed":
            return type(ready)(ready.variant, other, ready.size_bytes, "fp32", None)
        return ready

    monkeypatch.setattr(module, "prepare", prepare_second_with_noise)
    return [Variant("perturbed", "onnxruntime")]


@pytest.fixture(scope="module")
def alike(classifier, labelled_data):
    """The report on a model and the same model again, with the steps that were told."""
    steps = []
    report = compare(
        classifier,
        [Variant("again", "onnxruntime")],
        labelled_data,
        notes=["A note on the model."],
        progress=lambda what, done, total: steps.append(what),
        **FAST,
    )
    return report, steps


def test_the_same_model_twice_is_alike_in_everything(alike):
    report, _ = alike
    reference, again = report.variants
    assert report.reference == reference.name == "ONNX Runtime fp32"
    assert again.metrics[0].value.value == 90.0
    assert again.metrics[0].difference.value == 0.0
    assert again.metrics[0].identical == 60
    assert again.agreement.exact
    assert report.headline.startswith("again is ")
    assert "with the same top-1 (90.00 %), every prediction alike, on 60 examples" in (
        report.headline
    )
    assert report.warnings[0] == "A note on the model."


def test_a_worse_variant_is_told_from_the_reference(classifier, labelled_data, two_models):
    report = compare(classifier, two_models, labelled_data, **FAST)
    reference, worse = (variant.metrics[0] for variant in report.variants)
    assert worse.value.value < reference.value.value
    assert worse.difference.value == pytest.approx(worse.value.value - reference.value.value)
    assert worse.only_reference_right > worse.only_variant_right
    assert "lower" in report.headline
    assert not report.variants[1].agreement.exact


def test_everything_that_was_measured_is_in_the_report(alike, classifier):
    report, _ = alike
    for variant in report.variants:
        assert variant.latency.runs == sum(map(len, variant.latency.rounds)) == 20
        assert variant.latency.p95 is not None
        assert variant.latency.p99 is None
        assert variant.memory.peak > variant.memory.baseline > 0
        assert variant.size_bytes == classifier.stat().st_size
        assert variant.throughput > 0
    assert report.variants[1].speed.low <= report.variants[1].speed.value
    assert report.measuring.threads == len(report.measuring.cpus) == 1
    assert report.measuring.input_shapes == {"x": (1, 4)}
    assert report.data.examples == 60
    assert report.model.nodes == 1
    assert report.passed


def test_a_model_in_memory_with_an_open_batch_on_random_inputs(make_classifier):
    model = onnx.load(make_classifier(batch="N"))
    pair = [Variant("twin", "onnxruntime"), Variant("twin", "onnxruntime")]
    report = compare(model, pair, against=[], **FAST)
    assert [variant.name for variant in report.variants] == ["twin", "twin (2)"]
    assert report.data is None
    assert report.measuring.input_shapes == {"x": (1, 4)}
    assert report.variants[1].metrics == ()
    assert report.variants[1].agreement.source == "8 random inputs"
    assert "equal bit by bit on 8 random inputs" in report.headline


def test_an_open_dimension_needs_a_shape(make_classifier):
    model = make_classifier(batch="N")
    proto = onnx.load(model)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "M"
    onnx.save(proto, model)
    with pytest.raises(UsageError, match=r"input x has open dimensions, .*--shape x=1x…"):
        compare(model, [Variant("again", "onnxruntime")], **FAST)
    shaped = compare(model, [Variant("again", "onnxruntime")], shapes={"x": [3, 4]}, **FAST)
    assert shaped.measuring.batch == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"against": ["tensorrt"]}, UsageError, "no peer 'tensorrt' .* onnxruntime, openvino"),
        ({"against": []}, UsageError, "a comparison needs two variants"),
        ({"variants": ["fp23"]}, UsageError, "no recipe 'fp23'"),
        ({"metrics": ["top9"]}, UsageError, "no metric 'top9'"),
        ({"metrics": ["top1"]}, DataError, "top-1 needs labelled data"),
        ({"dataset": "/nowhere"}, DataError, "no data at /nowhere"),
        ({"fail_on": ["latency>2"]}, UsageError, "ratio to the reference"),
        ({"fail_on": ["accuracy<-1"]}, UsageError, "needs labelled data"),
        ({"fail_on": ["p99>2x"]}, UsageError, "needs 100 runs"),
        ({"budget": Budget(accuracy_loss=1.0)}, UsageError, "accuracy_loss needs labelled data"),
        ({"budget": Budget(latency_p99_ms=1.0)}, UsageError, "latency_p99_ms needs 100 runs"),
        ({"threads": 0}, UsageError, "0 threads are not possible"),
        ({"threads": 4096}, UsageError, "4096 threads are not possible"),
        ({"runs": 1}, UsageError, "1 runs are not enough"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    classifier, monkeypatch, options, error, message
):
    def never(*_, **__):
        raise AssertionError("a variant was prepared")

    monkeypatch.setattr(module, "prepare", never)
    given = {"variants": [Variant("a", "onnxruntime")], **FAST, **options}
    with pytest.raises(error, match=message) as caught:
        compare(classifier, **given)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_none_is_refused(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelError):
        compare(path, **FAST)


def test_progress_is_told(alike):
    _, steps = alike
    assert list(dict.fromkeys(steps)) == [
        "reading the model",
        "loading ONNX Runtime fp32",
        "loading again",
        "warming up ONNX Runtime fp32",
        "warming up again",
        "measuring in turn",
        "checking the outputs",
    ]


def test_ingot_against_onnx_runtime(classifier, labelled_data):
    report = compare(
        classifier, ["fp32"], labelled_data, fail_on=["size>1.0x", "accuracy<-0.5"], **FAST
    )
    variant = report.variants[1]
    assert (variant.name, variant.engine) == ("Ingot fp32", "ingot")
    assert variant.metrics[0].difference.value == 0.0
    assert variant.build.seconds > 0
    assert variant.build.passes
    assert variant.build.target.startswith("cpu")
    assert [check.failed for check in report.checks] == [True, False]
    assert not report.passed


def test_labels_are_those_of_the_data(classifier, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 4), np.float32), y=np.array([0, 1, 2, 3]))
    with pytest.raises(DataError, match=r"label 3 .* is out of range: the model has 3 classes"):
        compare(classifier, [Variant("again", "onnxruntime")], tmp_path / "d.npz", **FAST)
