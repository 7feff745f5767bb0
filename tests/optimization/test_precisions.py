"""More bits for the layers that 8 bits harm most."""

import pytest

from ingot.arithmetic import Arithmetic
from ingot.compiler.accuracy.layer_sensitivity import LayerSensitivity
from ingot.compiler.build import compile_model
from ingot.compiler.recipe import NAMED_RECIPES, Recipe
from ingot.optimization.precisions import mixed_recipe, mixed_steps, noisiest
from tests.passes.quantization.networks import images, residual_network

BF16 = Arithmetic(sixteen_bits={"bf16": frozenset({"Conv"})})
LAYERS = [
    LayerSensitivity(name=name, operator="Conv", layer_sqnr_db=sqnr, multiply_adds=adds)
    for name, sqnr, adds in (
        ("quiet", 40.0, 50), ("loud", 10.0, 5), ("unseen", None, 5), ("middle", 20.0, 40),
    )
]  # fmt: skip
MEASURED = {"quantization": {"layers": [layer.model_dump() for layer in LAYERS]}}


@pytest.mark.parametrize(
    ("share", "names"),
    [
        (0.0, []),
        (0.05, ["loud"]),
        (0.1, ["loud", "middle"]),
        (0.5, ["loud", "middle", "quiet"]),
        (1.0, ["loud", "middle", "quiet"]),
    ],
)
def test_the_noisiest_are_taken_until_they_hold_the_share(share, names):
    assert noisiest(LAYERS, share) == names


def test_each_set_of_layers_is_tried_once_and_the_larger_only_where_the_smaller_fails():
    steps = mixed_steps(MEASURED, BF16)
    assert [(step.name, step.gentler_than) for step in steps] == [
        ("int8, 2 of 4 layers in bf16", "int8"),
        ("int8, 3 of 4 layers in bf16", "int8, 2 of 4 layers in bf16"),
    ]
    assert all(step.gentler_than is None for step in mixed_steps(MEASURED, BF16, always=True))


def test_without_units_for_16_bits_these_layers_stay_float():
    (first, _) = mixed_steps(MEASURED, Arithmetic())
    assert first.name.endswith("in fp32")
    names = [spec.name for spec in first.apply(Recipe()).passes]
    assert "precision.sixteen-bits" not in names


def test_nothing_follows_from_what_was_not_quantized():
    assert mixed_steps({}, BF16) == []


def test_the_recipe_quantizes_all_but_these_and_rounds_them_to_16_bits():
    recipe = mixed_recipe(Recipe(), ["a"], "bf16")
    options = {spec.name: spec.options for spec in recipe.passes}
    assert options["quantization.qdq"] == {"keep_float": ["a"]}
    assert list(options)[-1] == "precision.sixteen-bits"
    assert options["precision.sixteen-bits"] == {"type": "bf16"}
    assert recipe.precision == NAMED_RECIPES["int8"].precision


def test_a_mixture_is_compiled_with_these_layers_out_of_8_bits(tmp_path):
    samples = images(4)
    whole = compile_model(
        residual_network(), tmp_path / "a.ingot", recipe="int8", calibration=samples
    )
    layers = whole.manifest.measured["quantization"]["layers"]
    (wider, *others) = [layer["name"] for layer in layers]
    recipe = mixed_recipe(Recipe(), [wider], "fp32")
    mixed = compile_model(
        residual_network(), tmp_path / "b.ingot", recipe=recipe, calibration=samples
    )
    found = mixed.manifest.precision["layers"]
    assert found[wider] == "fp32"
    assert {found[name] for name in others} == {"int8"}
