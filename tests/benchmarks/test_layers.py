"""The benchmark of random layers: valid seeded layers, a distribution, and failures by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.fallback import boxes
from benchmarks.layer_families.catalog import FAMILIES, Family, by_name
from benchmarks.layer_families.convolutions import Convolution
from benchmarks.layer_families.sampling import Dice
from benchmarks.layer_timing import LayerTimes, random_arrays
from benchmarks.layers import main, require_compiled, summaries
from ingot.compiler.build import compile_model
from ingot.errors import IngotError
from ingot.reference.session import Reference

NAMES = [family.name for family in FAMILIES]
BOTH = [(family.name, precision) for family in FAMILIES for precision in family.precisions]
QUICK = ["--threads", "1", "--against", "onnxruntime", "--milliseconds", "4"]


@pytest.mark.parametrize(("name", "precision"), BOTH)
def test_layers_are_valid_models(name, precision):
    family = by_name(name)
    layer = min((family.layer(number) for number in range(6)), key=lambda each: each.elements)
    model = layer.build(precision, seed=0)
    onnx.checker.check_model(model, full_check=True)
    results = Reference(model).run(random_arrays(model))
    for value in model.graph.output:
        dimensions = value.type.tensor_type.shape.dim
        assert results[value.name].shape == tuple(each.dim_value for each in dimensions)
        assert results[value.name].dtype == (np.uint8 if precision == "int8" else np.float32)
        assert np.isfinite(results[value.name]).all()


@pytest.mark.parametrize(("name", "precision"), [each for each in BOTH if each[1] == "int8"])
def test_integers_use_their_range(name, precision):
    family = by_name(name)
    layer = min((family.layer(number) for number in range(6)), key=lambda each: each.elements)
    model = layer.build(precision, seed=0)
    (integers,) = Reference(model).run(random_arrays(model)).values()
    ends = np.isin(integers, [0, 255]) if integers.min() else integers == 255
    assert len(np.unique(integers)) > 32
    assert ends.mean() < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_depends_on_seed_and_number_alone(name):
    family = by_name(name)
    first = [str(family.layer(number)) for number in range(5)]
    assert first == [str(family.layer(number)) for number in range(5)]
    assert len({*first, *(str(family.layer(number, seed=1)) for number in range(5))}) > 5


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_within_limits_of_work_and_memory(name):
    family = by_name(name)
    for number in range(40):
        layer = family.layer(number)
        assert layer.possible
        assert family.least_work <= layer.work <= 600_000_000
        assert layer.elements <= 16_000_000


def test_a_family_that_no_draw_fits_is_an_error():
    family = Family("huge", lambda dice: by_name("matmul").draw(dice), least_work=10**12)
    with pytest.raises(ValueError, match="no layer of huge is within the limits"):
        family.layer(0)


def test_sizes_are_log_uniform():
    dice = Dice(0)
    drawn = np.array([dice.size(1, 1000) for _ in range(3000)])
    assert drawn.min() == 1
    assert 900 < drawn.max() <= 1000
    # Each factor of ten has a third of them.
    assert np.allclose(np.histogram(drawn, [1, 10, 100, 1001])[0] / 3000, 1 / 3, atol=0.05)


def test_work_of_a_convolution():
    layer = Convolution(2, 8, 16, (10, 12), (3, 3), (2, 1), (1, 1), (1, 1), 4)
    assert layer.result == (5, 12)
    assert layer.work == 2 * 5 * 12 * 16 * 2 * 9
    assert str(layer) == "2x8x10x12 to 16, 3x3 /2x1 pad 1x1 4 groups"


def test_the_ratio_is_that_of_the_best_peer():
    rounds = {"ingot": 2.0, "onnxruntime": 3.0, "openvino": 5.0}
    times = LayerTimes({name: (np.full(4, ms),) * 3 for name, ms in rounds.items()})
    assert times.ratio().value == pytest.approx(1.5)
    assert LayerTimes({"ingot": times.rounds["ingot"]}).ratio() is None


def test_a_distribution_names_the_lowest():
    rows = [
        {"family": "matmul", "precision": precision, "threads": 1, "ratio": ratio,
         "number": number, "layer": f"the {number}th"}
        for precision in ("fp32", "int8")
        for number, ratio in enumerate([1.2, 0.7, 1.0, 1.1, None])
    ]  # fmt: skip
    fp32, int8 = summaries(rows)
    assert (fp32["precision"], int8["precision"]) == ("fp32", "int8")
    assert fp32["layers"] == 4
    assert fp32["median"] == pytest.approx(1.05)
    assert fp32["tenth_percentile"] == pytest.approx(0.79)
    assert (fp32["lowest"], fp32["lowest_layer"]) == (0.7, "1: the 1th")


def test_layers_from_end_to_end(tmp_path, capsys):
    out, keep = tmp_path / "layers.json", tmp_path / "keep"
    arguments = ["--family", "fully_connected", "--layers", "1", *QUICK]
    assert main([*arguments, "--json", str(out), "--keep", str(keep)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\| fully_connected \| fp32 +\| +1 \| +1 \|", printed)
    document = json.loads(out.read_text())
    assert [row["precision"] for row in document["rows"]] == ["fp32", "int8"]
    for row in document["rows"]:
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["percent_of_roofline"] > 0.0
        assert row["ratio"] == pytest.approx(row["peers"]["onnxruntime"] / row["ingot_ms"])
    assert [summary["layers"] for summary in document["families"]] == [1, 1]
    assert document["failures"] == []
    assert {file.name for file in keep.iterdir()} == {
        f"fully_connected_{precision}_1.{suffix}"
        for precision in ("fp32", "int8")
        for suffix in ("onnx", "ingot")
    }


def test_a_refused_layer_is_named_and_the_exit_code_is_1(tmp_path, capsys):
    out = tmp_path / "layers.json"
    arguments = ["--family", "softmax", "--layers", "2", "--json", str(out), *QUICK]
    assert main([*arguments, "--target", "cpu:mcpu=no-such-processor"]) == 1
    assert "Failed: softmax_fp32_2 (Softmax" in capsys.readouterr().out
    (failure,) = json.loads(out.read_text())["failures"]
    assert "no-such-processor" in failure


def test_what_is_left_to_onnx_runtime_is_a_failure(tmp_path: Path):
    artifact = compile_model(boxes(count=10, classes=2), tmp_path / "boxes.ingot")
    with pytest.raises(IngotError, match="left to ONNX Runtime: NonMaxSuppression"):
        require_compiled(artifact)


@pytest.mark.parametrize(
    "arguments", [["--family", "none"], ["--precision", "fp8"], ["--threads", "0"]]
)
def test_wrong_use_has_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    assert arguments[0] in capsys.readouterr().err
