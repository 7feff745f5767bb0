"""From a float model and samples to a verified INT8 artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ingot.compiler.accuracy.smoothing import has_quantized_activations, without_rounding
from ingot.compiler.build import Artifact, compile_model
from ingot.compiler.recipe import NAMED_RECIPES, load_recipe
from ingot.errors import UsageError
from ingot.reference.session import Reference
from tests.conftest import small_network
from tests.targets.cpu.networks import Network
from tests.targets.cpu.quantized_networks import Affine, Layer, QuantizedNetwork


def samples(count: int = 40, seed: int = 0) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(seed)
    return [
        {"image": generator.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("int8")


@pytest.fixture(scope="module")
def artifact(small_model: Path, folder: Path) -> Artifact:
    return compile_model(
        small_model,
        folder / "int8.ingot",
        quantize="int8",
        calibration=samples(),
        dump_passes=folder / "graphs",
    )


@pytest.fixture(scope="module")
def graph(artifact: Artifact, folder: Path) -> ir.Model:
    """The quantized graph that was compiled."""
    return ir.load(max((folder / "graphs").glob("*quantization*.onnx")))


def test_the_code_is_held_to_the_quantized_graph(artifact: Artifact) -> None:
    outcome = artifact.manifest.measured["verification"]
    assert outcome["ran"]
    assert outcome["reference"] == "quantized graph"
    assert outcome["rms_error"] <= 1.6 * max(outcome["rms_noise"], 1e-3)


def test_the_manifest_says_what_each_layer_computes_in_and_its_noise(artifact: Artifact) -> None:
    manifest = artifact.manifest
    assert manifest.precision["default"] == "int8"
    assert set(manifest.precision["layers"].values()) == {"int8"}
    assert len(manifest.precision["layers"]) == 3
    assert len(manifest.calibration["sha256"]) == 64
    facts = manifest.measured["quantization"]
    assert facts["output_sqnr_db"]["logits"] > 25
    assert [layer["name"] for layer in facts["layers"]] == list(manifest.precision["layers"])


def test_the_artifact_computes_nearly_what_the_float_model_does(artifact: Artifact) -> None:
    (sample,) = samples(1, seed=5)
    expected = Reference(ir.from_proto(small_network())).run(sample)["logits"]
    with artifact.session() as session:
        actual = session.run(sample)["logits"]
    np.testing.assert_allclose(actual, expected, atol=0.1 * np.abs(expected).max())


def test_the_same_model_samples_and_recipe_give_the_same_members(
    small_model: Path, tmp_path: Path
) -> None:
    # Of a fixed batch: TVM orders what it computes of a symbolic one by addresses in memory.
    first, again = (
        compile_model(
            small_model,
            tmp_path / f"{name}.ingot",
            recipe="int8",
            calibration=samples(),
            shapes={"image": (1, 3, 16, 16)},
        )
        for name in ("first", "again")
    )
    assert again.manifest.members == first.manifest.members


def test_a_model_that_comes_quantized_is_held_to_itself(graph: ir.Model, tmp_path: Path) -> None:
    artifact = compile_model(ir.to_proto(graph), tmp_path / "given.ingot")
    outcome = artifact.manifest.measured["verification"]
    assert outcome["reference"] == "quantized graph"


def test_without_rounding_a_graph_is_nearly_the_float_one(graph: ir.Model) -> None:
    smooth = without_rounding(graph)
    assert has_quantized_activations(graph)
    assert not has_quantized_activations(smooth)
    (sample,) = samples(1, seed=5)
    float_model = ir.from_proto(small_network())
    expected, actual, rounded = (
        Reference(model).run(sample)["logits"] for model in (float_model, smooth, graph)
    )
    assert np.abs(actual - expected).max() < np.abs(rounded - expected).max()


def test_without_data_the_error_says_how_to_give_it(small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--calibration PATH"):
        compile_model(small_model, tmp_path / "m.ingot", quantize="int8")


def test_int8_without_a_pass_that_quantizes_is_refused(small_model: Path, tmp_path: Path) -> None:
    recipe = {"precision": "int8", "passes": ["cleanup"]}
    with pytest.raises(UsageError, match="none of its passes quantizes"):
        compile_model(small_model, tmp_path / "m.ingot", recipe=recipe)


def test_another_precision_is_refused(small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be quantized to 'int3'"):
        compile_model(small_model, tmp_path / "m.ingot", quantize="int3")  # type: ignore[arg-type]


def test_a_budget_needs_labels_and_a_recipe_that_quantizes(
    small_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="for a recipe that quantizes"):
        compile_model(small_model, tmp_path / "m.ingot", accuracy_budget=0.5)
    with pytest.raises(UsageError, match="labelled data: give it with --data"):
        compile_model(
            small_model,
            tmp_path / "m.ingot",
            quantize="int8",
            calibration=samples(),
            accuracy_budget=0.5,
        )


def test_a_budget_is_held_and_recorded(small_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    x = np.concatenate([sample["image"] for sample in samples(60, seed=3)])
    reference = Reference(ir.from_proto(small_network()))
    np.savez(data, x=x, y=reference.run({"image": x})["logits"].argmax(axis=1))
    artifact = compile_model(
        small_model,
        tmp_path / "m.ingot",
        quantize="int8",
        calibration=samples(),
        accuracy_budget=0.0,
        data=data,
    )
    budget = artifact.manifest.measured["quantization"]["budget"]
    assert budget["reference"] == budget["result"] == 100.0
    floats = [n for n, p in artifact.manifest.precision["layers"].items() if p == "fp32"]
    assert sorted(floats) == sorted(budget["kept_in_float"])


def test_recipes_know_the_data_and_its_limit() -> None:
    plan = load_recipe({"precision": "int8", "passes": ["quantization"], "calibration": "photos"})
    assert plan.calibration.data == "photos"
    plan = load_recipe({"calibration": {"data": "photos", "limit": 5}})
    assert plan.calibration.limit == 5
    with pytest.raises(UsageError, match="no key 'calibration.limits'; did you mean 'limit'"):
        load_recipe({"calibration": {"limits": 5}})


def test_quantizing_a_recipe_twice_changes_nothing() -> None:
    plan = NAMED_RECIPES["int8"]
    assert plan.quantized() is plan
    mine = load_recipe({"name": "mine"}).quantized()
    assert (mine.name, mine.precision, mine.passes) == ("mine-int8", "int8", plan.passes)


@pytest.mark.parametrize("last", ["DequantizeLinear", "QuantizeLinear"])
def test_a_graph_may_end_in_its_quantization(last: str, tmp_path: Path) -> None:
    network = QuantizedNetwork()
    layer = Layer((8, 8), (3, 3), 8, 24, pads=(1, 1, 1, 1))
    y = layer.add_to(network)
    if last == "QuantizeLinear":
        network.integers(y, Affine(2.0**-4, 7))
    else:
        network.output(network.quantized(y, Affine(2.0**-4, 7)))
    artifact = compile_model(network.model(), tmp_path / "m.ingot")
    outcome = artifact.manifest.measured["verification"]
    assert outcome["reference"] == "quantized graph"
    assert outcome["max_abs_error"] == 0


def test_volumes_sequences_and_products_without_bias_in_one_model(tmp_path: Path) -> None:
    network = Network()
    x = network.input(1, 3, 4, 6, 6)
    y = network.apply("Relu", network.apply("Conv", x, network.weight(4, 3, 3, 3, 3)))
    y = network.apply("Reshape", y, network.constant(np.array([1, 4, 32])))
    y = network.apply("Relu", network.apply("Conv", y, network.weight(6, 4, 3), pads=[1, 1]))
    network.output(network.apply("MatMul", y, network.weight(32, 8, terms=32)))
    generator = np.random.default_rng(0)
    data = [{x: generator.normal(size=(1, 3, 4, 6, 6)).astype(np.float32)} for _ in range(12)]
    artifact = compile_model(
        network.model(), tmp_path / "m.ingot", quantize="int8", calibration=data
    )
    precisions = artifact.manifest.precision["layers"]
    assert sorted(precisions.values()) == ["fp32", "int8", "int8"]
    assert artifact.manifest.measured["verification"]["ran"]


@pytest.mark.parametrize("zero_points", [128, 113, None, "per column"])
def test_activations_quantized_as_they_come(zero_points: int | str | None, tmp_path: Path) -> None:
    # Roundings drift apart over layers: the noise of the graph says how far they may.
    network = Network()
    x = network.input("N", 40)
    for layer in range(3):
        dtype = np.int8 if zero_points is None else np.uint8
        limits = np.iinfo(dtype)
        generator = np.random.default_rng(layer)
        weights = generator.integers(limits.min, limits.max, (40, 40), dtype, endpoint=True)
        zeros = []
        if zero_points is not None:
            each = generator.integers(0, 255, 40, np.uint8)
            given = each if zero_points == "per column" else np.array(zero_points, np.uint8)
            zeros = [network.constant(given)]
        integers, scale, zero = network.apply_many("DynamicQuantizeLinear", 3, x)
        sums = network.apply("MatMulInteger", integers, network.constant(weights), zero, *zeros)
        real = network.apply("Cast", sums, to=onnx.TensorProto.FLOAT)
        factor = network.apply("Mul", scale, network.constant(0.002))
        x = network.apply("Tanh", network.apply("Mul", real, factor))
    network.output(x)
    artifact = compile_model(network.model(), tmp_path / "m.ingot")
    outcome = artifact.manifest.measured["verification"]
    assert outcome["reference"] == "quantized graph"
    assert outcome["rms_error"] <= outcome["rms_noise"]
    smooth = without_rounding(ir.from_proto(network.model()))
    assert "MatMulInteger" not in {node.op_type for node in smooth.graph}
