"""The benchmark of architectures: networks that compile and are right, rows, and two halves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import architectures
from benchmarks.architectures import ArchitectureRow, differences, main, summaries
from benchmarks.networks.catalog import NETWORKS, Network, by_name
from ingot.compiler.build import compile_model
from ingot.errors import CompilationError
from tests.benchmarks.rows import row

QUICK = ["--small", "--threads", "1", "--against", "onnxruntime", "--runs", "4"]
DEVELOPMENT = [network.name for network in NETWORKS if network.half == "development"]
HELD_OUT = [network.name for network in NETWORKS if network.half == "held_out"]


@pytest.mark.slow
@pytest.mark.parametrize("open_sizes", [False, True], ids=["fixed", "open"])
@pytest.mark.parametrize("network", NETWORKS, ids=[network.name for network in NETWORKS])
def test_a_network_compiles_and_agrees_with_onnx_runtime(
    network: Network, open_sizes: bool, tmp_path: Path
) -> None:
    model = network.model(open_sizes=open_sizes, small=True)
    artifact = compile_model(model, tmp_path / "network.ingot")
    assert artifact.manifest.measured["verification"]["ran"]
    assert artifact.manifest.placement["cpu"]["nodes"]


def timed(name: str, half: str, ratio: float | None, threads: int = 1) -> ArchitectureRow:
    fields = {**dict(row(ratio, threads=threads)), "model": name}
    return ArchitectureRow(**fields, half=half, left=0)


def test_each_half_has_a_summary_for_each_number_of_threads():
    rows = [
        timed("a", "development", 2.0),
        timed("b", "development", 0.5),
        timed("c", "held_out", 1.1),
        timed("d", "held_out", None),
        timed("a", "development", 3.0, threads=2),
    ]
    one, held_out, two = summaries(rows)
    assert (one["half"], one["threads"], one["networks"], one["ahead"]) == (
        "development",
        1,
        2,
        0.5,
    )
    assert one["geometric_mean"] == pytest.approx(1.0)
    assert (one["lowest"], one["lowest_network"]) == (0.5, "b")
    assert (held_out["networks"], held_out["ahead"]) == (1, 1.0)
    assert (two["threads"], two["geometric_mean"]) == (2, pytest.approx(3.0))
    # With two threads nothing was held out: there is no difference to tell.
    assert differences([one, held_out, two]) == {1: pytest.approx(0.1)}


def test_a_network_is_timed_from_end_to_end(tmp_path, capsys):
    out = tmp_path / "rows.json"
    assert main(["--models", "mlp", *QUICK, "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\| mlp +\| +1 \| +1 \|.*\| development \|", printed)
    document = json.loads(out.read_text())
    (found,) = document["rows"]
    assert (found["model"], found["half"], found["threads"]) == ("mlp", "development", 1)
    assert found["ratio"] == pytest.approx(found["peers"]["onnxruntime"] / found["ingot_ms"])
    assert found["compile_s"] > 0
    assert [entry["half"] for entry in document["halves"]] == ["development"]


def test_networks_are_only_compiled_without_timing(tmp_path, capsys):
    out = tmp_path / "rows.json"
    arguments = ["--models", "autoencoder", "--no-timing", "--sizes", "open", "--small"]
    assert main([*arguments, "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["sizes"] for row in rows] == ["open"]
    assert all(row["compiled"] and not row["left"] and not row["reasons"] for row in rows)
    assert "| autoencoder | held_out | open  |" in capsys.readouterr().out


@pytest.mark.parametrize("more", [["--no-timing", "--sizes", "fixed"], []])
def test_a_refused_network_is_named_and_the_exit_code_is_1(more, tmp_path, capsys, monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise CompilationError("no code for this")

    monkeypatch.setattr(architectures, "compile_model", refuse)
    out = tmp_path / "rows.json"
    assert main(["--models", "mlp", *QUICK, *more, "--json", str(out)]) == 1
    assert "Failed: mlp, fixed sizes: no code for this" in capsys.readouterr().out
    assert json.loads(out.read_text())["failures"] == ["mlp, fixed sizes: no code for this"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], DEVELOPMENT),
        (["--half", "held_out"], HELD_OUT),
        (["--half", "all"], [network.name for network in NETWORKS]),
        (["--models", "mlp"], ["mlp"]),
    ],
)
def test_what_is_timed(arguments, expected, monkeypatch):
    asked = []
    monkeypatch.setattr(
        architectures,
        "_timed_rows",
        lambda network, sizes, *_: asked.append((network, sizes)) or [],
    )
    assert main(arguments) == 0
    assert asked == [(by_name(name), "fixed") for name in expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "none"], "no network is called none"),
        (["--models", HELD_OUT[0]], f"{HELD_OUT[0]} is of the other half: give --half held_out"),
        (["--against", "none"], "--against none is none of onnxruntime, openvino"),
        (["--sizes", "none"], "--sizes none is none of fixed, open"),
    ],
)
def test_wrong_use_has_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
