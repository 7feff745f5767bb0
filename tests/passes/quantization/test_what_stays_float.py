"""A valid network is never refused: what cannot be quantized stays float, with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from ingot.calibration.collection import Calibration
from ingot.compiler.quantization import finish_quantization, was_lossy
from ingot.passes.manager import PassManager
from ingot.passes.quantization import CorrectBias, InsertQdq, LearnRounding
from ingot.passes.registry import PassSpec, create
from tests.passes.quantization.networks import calibrated, model, normal

VECTORS = "(float[N,8] x) => (float[N,4] y)"
MATRIX = {"w": normal(8, 4)}


def quantize(network, data):
    """All passes of the group; what they said of each layer, and what a user is told."""
    calibration = Calibration(data)
    passes = create(PassSpec(name="quantization"))
    for pass_ in passes:
        if hasattr(pass_, "calibrate_with"):
            pass_.calibrate_with(calibration)
    run = PassManager(passes).run(network)
    lossy = was_lossy(passes, run.records)
    outcome = finish_quantization(run.model, lossy, calibration, None, None)
    (record,) = [record for record in run.records if record.name == "quantization.qdq"]
    return outcome, record, calibration.notes


def samples(network, count=3):
    generator = np.random.default_rng(0)
    return [
        {
            str(value.name): generator.normal(
                size=[size if isinstance(size, int) else 2 for size in value.shape]
            ).astype(np.float32)
            for value in network.graph.inputs
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("signature", "body", "weights", "reason"),
    [
        pytest.param(VECTORS.replace("4", "8"), "y = Relu(x)", {}, "no Conv", id="no layer"),
        pytest.param(
            "(float[1,3,8,8] x) => (float[1,3,1,1] y)",
            "a = MaxPool<kernel_shape=[2,2]>(x) y = GlobalAveragePool(a)", {}, "no Conv", id="pool",
        ),
        pytest.param(
            "(float[2,8] x, float[8,3] z) => (float[2,3] y)", "y = MatMul(x, z)", {},
            "no constant", id="two activations",
        ),
        pytest.param(
            "(float[8,3] x) => (float[4,3] y)", "y = MatMul(w, x)", {"w": normal(4, 8)},
            "no constant", id="weights first",
        ),
        pytest.param(
            "(float[2,8] x) => (float[2] y)", "y = MatMul(x, w)", {"w": normal(8)},
            "of rank 1", id="vector",
        ),
        pytest.param(
            VECTORS, "y = Gemm<alpha=0.5>(x, w)", MATRIX, "factors", id="factor",
        ),
        pytest.param(
            "(float[N,8] x) => (float[N,0] y)", "y = MatMul(x, w)", {"w": normal(8, 0)},
            "a dimension of theirs is 0", id="no weights",
        ),
        pytest.param(
            "(float[N,8] x, float[4] b) => (float[N,4] y)", "y = Gemm(x, w, b)", MATRIX,
            "not a constant per channel", id="given bias",
        ),
        pytest.param(
            "(float[4,8] x) => (float[4,4] y)", "y = Gemm(x, w, b)", {**MATRIX, "b": normal(4, 1)},
            "not a constant per channel", id="bias per row",
        ),
        pytest.param(
            "(float[1,4,4,4,4] x) => (float[1,2,2,2,2] y)", "y = Conv(x, w)",
            {"w": normal(2, 4, 3, 3, 3)}, "over 3 axes", id="volume",
        ),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_quantized_stays_as_it_is(signature, body, weights, reason):
    network = model(signature, body, weights)
    outcome, record, notes = quantize(network, samples(network))
    assert not outcome.lossy
    assert [node.op_type for node in outcome.model.graph] == [n.op_type for n in network.graph]
    (note,) = [note for note in notes if note.startswith("nothing is quantized")]
    assert reason in note
    assert all(reason in declined.reason for declined in record.declined)


@pytest.mark.parametrize("bias", [(4,), (1,), (1, 4), (1, 1), ()])
def test_the_bias_of_a_gemm_may_be_of_any_shape_that_is_one_per_channel(bias):
    network = model(VECTORS, "y = Gemm(x, w, b)", {**MATRIX, "b": normal(*bias)})
    outcome, record, _ = quantize(network, samples(network, 40))
    assert outcome.lossy
    assert record.applied == 1
    assert outcome.facts["output_sqnr_db"]["y"] > 25


def test_of_a_network_some_layers_may_stay_float():
    body = "a = MatMul(x, w) c = Gemm(a, v, b) y = MatMul(c, u)"
    weights = {"w": normal(8, 6), "v": normal(6, 5), "b": normal(2, 5), "u": normal(5, 4)}
    network = model("(float[2,8] x) => (float[2,4] y)", body, weights)
    outcome, record, _ = quantize(network, samples(network, 40))
    assert outcome.lossy
    assert record.applied == 2
    assert [declined.node for declined in record.declined] == ["gemm1"]


@pytest.mark.parametrize("learner", [LearnRounding, CorrectBias])
def test_inputs_may_be_scalars_and_vectors(learner):
    body = "a = MatMul(x, w) c = Add(a, b) y = Mul(c, s)"
    weights = {**MATRIX, "b": normal(4)}
    network = model("(float[8] x, float s) => (float[4] y)", body, weights)
    for count in (1, 3):
        data = samples(network, count)
        after = network.clone()
        calibrated(InsertQdq(), data)(after)
        assert calibrated(learner(), data)(after).applied == 1


def test_samples_that_are_empty_on_the_way_teach_nothing_and_break_nothing():
    network = model(VECTORS, "y = Gemm(x, w, b)", {**MATRIX, "b": normal(4)})
    whole, empty = samples(network)[:1], [{"x": np.zeros((0, 8), np.float32)}]
    expected, *_ = quantize(network.clone(), whole)
    for data in (empty + whole, whole + empty):
        found, *_ = quantize(network.clone(), data)
        for name, value in expected.model.graph.initializers.items():
            other = found.model.graph.initializers[name]
            np.testing.assert_array_equal(value.const_value.numpy(), other.const_value.numpy())
