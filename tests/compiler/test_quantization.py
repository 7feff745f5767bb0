"""What the driver hands to passes of what the target computes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ingot.passes
from ingot.arithmetic import FLOAT_EPILOGUES
from ingot.calibration.collection import Calibration
from ingot.compiler.quantization import make_passes
from ingot.compiler.recipe import Recipe
from ingot.targets.registry import parse_target


@pytest.mark.parametrize(
    ("target", "signed", "bits"),
    [
        pytest.param("cpu:mcpu=znver3", False, {8}, id="float epilogues"),
        pytest.param("npu:ethos-u55-128,mcpu=znver3", True, {8, 16}, id="integers alone"),
    ],
)
def test_passes_are_handed_what_the_target_computes(
    target: str, signed: bool, bits: set[int]
) -> None:
    parsed = parse_target(target)
    recipe = Recipe.model_validate({"passes": ["quantization.qdq"], "precision": "int8"})
    (pass_,) = make_passes(recipe, parsed, Calibration([]))
    assert pass_.arithmetic == parsed.arithmetic
    assert pass_.arithmetic.integers.signed is signed
    assert pass_.arithmetic.integers.activation_bits == bits


def test_a_target_that_says_nothing_computes_float_epilogues() -> None:
    assert parse_target("cpu:mcpu=znver3").arithmetic.integers is FLOAT_EPILOGUES


def test_passes_know_no_target_by_name() -> None:
    root = Path(ingot.passes.__path__[0])
    named = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in ("cpu", "npu", "cuda")
    ]
    assert named == []
