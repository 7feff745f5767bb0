"""Weights stored in bf16 or fp16 behind a Cast."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from ingot.compiler.build import compile_model
from ingot.compiler.recipe import PruneOptions, load_recipe
from ingot.errors import UsageError
from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.precision import SixteenBitWeights
from ingot.passes.precision.sixteen_bit_weights import SixteenBitWeightsOptions
from ingot.passes.quantization.precision import layer_precisions
from ingot.passes.storage import save
from ingot.reference.session import Reference
from tests.passes.quantization.networks import images, model, normal, residual_network, sqnr

TYPES = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16}


def apply(network, **options):
    after = network.clone()
    outcome = SixteenBitWeights(SixteenBitWeightsOptions(**options))(after)
    check_graph(after)
    check_operators(after)
    return after, outcome


def shared_weights(largest=1.0, opset=23):
    weights = normal(64, 64, seed=1)
    weights[3, 5] = largest
    body = "a = MatMul(x, w) b = Relu(a) c = MatMul(w, b) y = Add(b, c)"
    return model("(float[64,64] x) => (float[64,64] y)", body, {"w": weights}, opset)


@pytest.mark.parametrize(("kind", "least"), [("bf16", 40), ("fp16", 60)])
def test_each_kind_of_layer_is_rounded_and_outputs_stay_close(kind, least):
    network = residual_network()
    after, outcome = apply(network, type=kind, smallest=1)
    assert outcome.applied == 4
    assert set(layer_precisions(after.graph).values()) == {f"{kind} weights"}
    assert sqnr(network, after, images(seed=9)) > least


@pytest.mark.parametrize("kind", TYPES)
def test_a_weight_of_two_readers_is_stored_once_and_rounded_to_nearest_even(kind):
    network = shared_weights()
    after, outcome = apply(network, type=kind)
    assert outcome.applied == 2
    (stored,) = after.graph.initializers.values()
    expected = network.graph.initializers["w"].const_value.numpy().astype(TYPES[kind])
    np.testing.assert_array_equal(stored.const_value.numpy(), expected)
    assert stored.const_value.nbytes == 64 * 64 * 2
    casts = [node for node in after.graph if node.op_type == "Cast"]
    assert [len(cast.outputs[0].uses()) for cast in casts] == [1, 1]


def test_a_saved_graph_opens_and_runs_the_same_in_onnx_runtime(tmp_path):
    after, _ = apply(shared_weights())
    save(after, tmp_path / "after.onnx")
    inputs = {"x": normal(64, 64, seed=3)}
    again = Reference(ir.load(tmp_path / "after.onnx")).run(inputs)["y"]
    np.testing.assert_array_equal(again, Reference(after).run(inputs)["y"])


@pytest.mark.parametrize(
    ("network", "options", "reason"),
    [
        (shared_weights(), {"smallest": 5000}, "its 4096 weights are too few to matter"),
        (shared_weights(), {"keep_float": ("matmul0", "matmul2")}, "it is kept in float32"),
        (
            shared_weights(largest=-7e4),
            {"type": "fp16"},
            "a weight of 7e+04 is beyond fp16's 65504",
        ),
    ],
)
def test_leaves_with_a_reason(network, options, reason):
    after, outcome = apply(network, **options)
    assert {declined.reason for declined in outcome.declined} == {reason}
    assert not outcome.modified
    assert [node.op_type for node in after.graph] == [node.op_type for node in network.graph]


def test_what_bf16_rounds_to_infinity_is_left():
    _, outcome = apply(shared_weights(largest=float(np.finfo(np.float32).max)))
    assert [declined.node for declined in outcome.declined] == ["matmul0", "matmul2"]


def test_layers_and_opsets_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="keep_float names 'other'"):
        apply(shared_weights(), keep_float=("other",))
    with pytest.raises(UsageError, match="bfloat16 needs opset 13, the model has 12"):
        apply(shared_weights(opset=12))


def test_channels_are_pruned_before_weights_are_rounded():
    plan = load_recipe("bf16").model_copy(update={"prune": PruneOptions(ratio=0.1)})
    assert [spec.name for spec in plan.pipeline][-3:] == [
        "pruning.channels",
        "precision.sixteen-bits",
        "precision.sixteen-bit-weights",
    ]


@pytest.mark.parametrize("kind", TYPES)
def test_an_artifact_holds_half_the_bytes_and_computes_the_rounded_graph(tmp_path, kind):
    network = shared_weights()
    sizes = {}
    for recipe in ("fp32", kind):
        # A processor that multiplies neither.
        artifact = compile_model(
            network.clone(),
            tmp_path / f"{recipe}.ingot",
            recipe=recipe,
            target="cpu:mcpu=x86-64-v3",
        )
        sizes[recipe] = artifact.manifest.members["params.safetensors"].size
    assert sizes[kind] < 0.6 * sizes["fp32"]
    assert artifact.manifest.precision["default"] == kind
    assert set(artifact.manifest.precision["layers"].values()) == {f"{kind} weights"}
    inputs = {"x": normal(64, 64, seed=3)}
    expected = Reference(apply(network, type=kind)[0]).run(inputs)["y"]
    actual = artifact.session(threads=1).run(inputs)["y"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
