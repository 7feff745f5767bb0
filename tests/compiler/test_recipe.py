"""Recipes from names, files and mappings; what does not fit is refused with the nearest fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.compiler.recipe import NAMED_RECIPES, PruneOptions, Recipe, load_recipe
from ingot.errors import UsageError

TOML = """
target = "cpu:threads=2"
passes = ["cleanup", {name = "fusion.gelu"}]
[shapes]
image = [1, 3, 224, 224]
[verify]
seed = 7
"""

YAML = """
target: cpu:threads=2
passes:
  - cleanup
  - name: fusion.gelu
shapes:
  image: [1, 3, 224, 224]
verify:
  seed: 7
"""


@pytest.mark.parametrize(("suffix", "text"), [(".toml", TOML), (".yaml", YAML), (".yml", YAML)])
def test_a_file_gives_what_it_says_and_its_name(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_text(text)
    recipe = load_recipe(path)
    assert recipe.name == "mine"
    assert recipe.target == "cpu:threads=2"
    assert [spec.name for spec in recipe.passes] == ["cleanup", "fusion.gelu"]
    assert recipe.shapes == {"image": (1, 3, 224, 224)}
    assert recipe.verify.seed == 7


def test_the_default_is_the_recipe_named_fp32() -> None:
    assert load_recipe(None) == load_recipe("fp32") == NAMED_RECIPES["fp32"]


def test_a_recipe_and_a_mapping_are_taken_as_they_are() -> None:
    assert load_recipe({"simplify": False}) == load_recipe(Recipe(simplify=False))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pases": []}, "the recipe has no key 'pases'; did you mean 'passes'?"),
        ({"verify": {"sead": 1}}, "no key 'verify.sead'; did you mean 'seed'?"),
        ({"passes": [{"nam": "x"}]}, "no key 'passes.0.nam'; did you mean 'name'?"),
        ({"zzz": 1}, "no key 'zzz'; valid keys: name, passes, target"),
        ({"verify": {"rtol": -1}}, "key 'verify.rtol': Input should be greater than 0"),
        ({"precision": "int3"}, "key 'precision': Input should be 'fp32'"),
        ({"shapes": {"x": "1x2"}}, "key 'shapes.x'"),
    ],
)
def test_keys_and_values_that_do_not_fit_are_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")) as error:
        load_recipe(keys)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken.toml", "a = = 1", "broken.toml cannot be parsed"),
        ("broken.yaml", "a: [1", "broken.yaml cannot be parsed"),
        ("binary.toml", b"\xff\xfe", "binary.toml cannot be parsed"),
        ("list.yaml", "- 1", "holds no table of keys"),
    ],
)
def test_files_that_cannot_be_parsed_are_refused(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message) as error:
        load_recipe(path)
    assert "\n" not in str(error.value)


def test_a_name_that_is_neither_recipe_nor_file_is_refused() -> None:
    expected = "no recipe 'fp23': give a file .* or one of fp32, int8, bf16, fp16, best, none"
    with pytest.raises(UsageError, match=expected):
        load_recipe("fp23")


@pytest.mark.parametrize("key", [0.2, {"ratio": 0.2}])
def test_pruning_comes_before_quantization(key):
    recipe = load_recipe({"prune": key}).quantized()
    names = [spec.name for spec in recipe.pipeline]
    assert names[-2:] == ["pruning.channels", "quantization"]
    assert recipe.pipeline[-2].options == {"ratio": 0.2, "multiple": 8}


def test_pruning_comes_last_where_nothing_is_quantized():
    assert load_recipe({"prune": 0.2}).pipeline[-1].name == "pruning.channels"
    assert load_recipe({}).pipeline == load_recipe({}).passes


@pytest.mark.parametrize("key", ["2:4", {"pattern": "2:4"}])
def test_a_pattern_is_pruned_too(key):
    (spec,) = load_recipe({"prune": key, "passes": []}).pipeline
    assert (spec.name, spec.options) == ("pruning.sparsity", {"pattern": "2:4"})


def test_channels_go_before_zeros_come():
    recipe = load_recipe({"prune": {"ratio": 0.1, "pattern": "2:4"}, "passes": []})
    assert [spec.name for spec in recipe.pipeline] == ["pruning.channels", "pruning.sparsity"]


@pytest.mark.parametrize("text", ["2", "nan", "a:b", "-0.1", ""])
def test_what_to_prune_is_a_part_or_a_pattern(text):
    with pytest.raises(UsageError, match="what to prune is"):
        PruneOptions.parse(text)


@pytest.mark.parametrize("key", [0, 1, -0.5, {"ration": 0.1}, {}, "2-4"])
def test_a_wrong_ratio_is_refused(key):
    with pytest.raises(UsageError, match="prune"):
        load_recipe({"prune": key})
