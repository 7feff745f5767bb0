"""Every script in examples/ runs by itself, in an empty folder, and says what it should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(script: str, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_compile_and_deploy(tmp_path: Path) -> None:
    printed = run("compile_and_deploy.py", tmp_path)
    assert "deployed: image: float32[N, 3, 32, 32] -> {'logits': (4, 10)}" in printed
    assert "compiler packages in memory: none" in printed
    assert files(tmp_path) == []


def test_custom_pass(tmp_path: Path) -> None:
    printed = run("custom_pass.py", tmp_path)
    assert "mine.flat-mean applied 1 time" in printed
    assert "'GlobalAveragePool': -1, 'ReduceMean': 1" in printed


@pytest.mark.slow
def test_custom_metric(tmp_path: Path) -> None:
    printed = run("custom_metric.py", tmp_path)
    for variant in ("ONNX Runtime fp32", "Ingot fp32"):
        assert f"{variant}: probability_of_label " in printed
        assert f"{variant}: top-1 " in printed


@pytest.mark.slow
def test_compare_recipes(tmp_path: Path) -> None:
    printed = run("compare_recipes.py", tmp_path, "out")
    assert printed.startswith("report: out/report.html")
    assert "passed accuracy<-0.5 - accuracy of Ingot fp32 is 0.00" in printed
    assert "passed accuracy<-0.5 - accuracy of Ingot cleanup only is 0.00" in printed
    assert files(tmp_path / "out") == ["report.html", "report.json", "report.md"]


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    printed = run("demo.py", tmp_path)
    for variant in ("ONNX Runtime fp32", "Ingot fp32", "Ingot int8", "Ingot best"):
        assert re.search(rf"{variant} +9\d\.\d\d % ", printed), variant
    assert "100.0% of the multiply-adds run on it" in printed
    assert re.search(r"(1[89]|20) of 20 images right", printed)
    assert "says class 5, and 5 is right" in printed
    assert f"The report: {tmp_path / 'demo' / 'report.html'}" in printed
    assert files(tmp_path / "demo") == [
        "best.ingot",
        "cifar_resnet_fp32.ingot",
        "cifar_resnet_int8.ingot",
        "cifar_resnet_npu.ingot",
        "report.html",
        "report.json",
        "report.md",
    ]


def test_every_example_has_a_test() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {script.stem for script in EXAMPLES.glob("*.py")} <= tested
