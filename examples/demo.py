"""What Ingot does, from end to end, on the bundled model and real images.

Compiles ``cifar_resnet`` for this CPU, as it is and quantized to INT8, and lets a search find the
best artifact; compares all of them with ONNX Runtime on 1,000 labelled images; compiles it for an
NPU and runs it there, bit by bit, without the device; serves the best artifact and asks the server.
What it made stays in a folder.

Run it with ``make demo``, or: python -m examples.demo [FOLDER]
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

import ingot
from ingot.cli.optimization import headline
from ingot.client import Client
from ingot.data import Dataset, open_dataset
from ingot.models.catalog import ModelSource, resolve
from ingot.report.variants import Variant

_ACCELERATOR = "ethos-u55-256"
_NPU_RECIPE = {
    "name": "npu",
    "precision": "int8",
    "passes": ["cleanup", "fusion", "quantization.equalization", "quantization.qdq"],
    "target": f"npu:{_ACCELERATOR}",
}
_NPU_IMAGES = 20
_SEARCH_SECONDS = 15.0


class Steps:
    """Prints each step and its findings; shows what is under way on a terminal."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, console=self.console, transient=True)
        self._task = self._bar.add_task("", total=None)
        self._what = ""
        if self.console.is_terminal:
            self._bar.start()

    def begin(self, title: str) -> None:
        """Begins a step."""
        self.console.print(f"\n[bold]{title}[/bold]")

    def found(self, text: str) -> None:
        """Prints what a step found."""
        self.console.print(f"   {text}", markup=False)

    def tell(self, what: str, done: int = 0, total: int = 0) -> None:
        """Shows what is being done, and how much of it is done."""
        if what != self._what:
            self._what = what
            self._bar.reset(self._task, description=what, total=total or None)
        self._bar.update(self._task, completed=done, total=total or None)

    def end(self) -> None:
        """Takes the bar away."""
        self._bar.stop()


def compile_for_cpu(model: ModelSource, folder: Path, steps: Steps) -> None:
    """Compiles the model as it is and as INT8."""
    steps.begin(f"1. Compile {model.name} for this CPU")
    for name, quantize in (("fp32", None), ("int8", "int8")):
        started = time.perf_counter()
        artifact = ingot.compile(
            model.path,
            folder / f"cifar_resnet_{name}.ingot",
            quantize=quantize,
            calibration=model.default_calibration if quantize else None,
            progress=steps.tell,
        )
        seconds = time.perf_counter() - started
        difference = artifact.manifest.measured["verification"]["max_rel_error"]
        steps.found(
            f"{artifact.path}: {artifact.size / 1e6:.2f} MB in {seconds:.1f} s, "
            f"within {difference:.1e} of ONNX Runtime"
        )


def optimize(model: ModelSource, data: Dataset, folder: Path, steps: Steps) -> Path:
    """Finds the best artifact; returns it."""
    steps.begin(f"2. Find the best for it, in {_SEARCH_SECONDS:.0f} s: ingot optimize")
    found = ingot.optimize(
        model.path,
        folder / "best.ingot",
        data,
        calibration=model.default_calibration,
        preprocessing=model.preprocessing,
        time_budget=_SEARCH_SECONDS,
        progress=steps.tell,
    )
    steps.found(headline(found.optimization))
    return found.artifact.path


def compare(model: ModelSource, best: Path, data: Dataset, folder: Path, steps: Steps) -> Path:
    """Compares what Ingot makes with ONNX Runtime; returns the report's page."""
    steps.begin(f"3. Compare with ONNX Runtime, each in its own process, on {len(data):,} images")
    report = ingot.compare(
        model.path,
        ["fp32", "int8", Variant.compiled(best)],
        data,
        calibration=model.default_calibration,
        name=model.name,
        progress=steps.tell,
    )
    table = Table(box=None, header_style="bold")
    for heading in ("", "accuracy", "median", "speed", "file", "memory"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for variant in report.variants:
        accuracy, speed = variant.metrics[0], variant.speed
        table.add_row(
            variant.name,
            f"{accuracy.value.value:.2f} %",
            f"{variant.latency.median.value:.3f} ms",
            "1" if speed is None else f"{speed.value:.2f}x ({speed.low:.2f} to {speed.high:.2f})",
            f"{variant.size_bytes / 1e6:.2f} MB",
            f"{variant.memory.peak / 1e6:.0f} MB",
        )
    steps.console.print(table)
    for warning in report.warnings:
        steps.found(f"Note: {warning}")
    return report.write(folder)


def run_on_npu(model: ModelSource, data: Dataset, folder: Path, steps: Steps) -> None:
    """Compiles the model for an NPU and runs images as the NPU would."""
    steps.begin(f"4. The same model for an NPU, Arm {_ACCELERATOR}, which need not be there")
    artifact = ingot.compile(
        model.path,
        folder / "cifar_resnet_npu.ingot",
        recipe=_NPU_RECIPE,
        calibration=model.default_calibration,
        progress=steps.tell,
    )
    npu = artifact.manifest.placement["npu"]
    estimate = npu["estimate"]
    steps.found(
        f"{npu['share_of_macs']:.1%} of the multiply-adds run on it; Vela estimates "
        f"{estimate['cycles']:,} cycles, {estimate['inferences_per_second']:,.0f} images a second"
    )
    right = 0
    with ingot.load(artifact.path) as session:
        for number in range(_NPU_IMAGES):
            example = data[number]
            scores = session.run(example.inputs[0])[session.outputs[0].name]
            right += int(scores.argmax() == example.label)
            steps.tell("running the command stream", number + 1, _NPU_IMAGES)
    steps.found(f"{right} of {_NPU_IMAGES} images right, computed with the NPU's own bits")


def serve(artifact: Path, data: Dataset, steps: Steps) -> None:
    """Serves an artifact and asks the server about an image."""
    steps.begin(f"5. Serve it: ingot serve {artifact}")
    with _server(artifact) as url, Client(url) as client:
        example = data[0]
        image = np.asarray(next(iter(example.inputs[0].values())))
        client.infer(artifact.stem, {"image": image})
        started = time.perf_counter()
        outputs = client.infer(artifact.stem, {"image": image})
        milliseconds = 1e3 * (time.perf_counter() - started)
        steps.found(
            f"{url} says class {outputs['logits'].argmax()}, and {example.label} is right; "
            f"the answer took {milliseconds:.1f} ms"
        )


@contextlib.contextmanager
def _server(artifact: Path) -> Iterator[str]:
    """Runs ``ingot serve`` at a free port; yields its address."""
    command = [sys.executable, "-m", "ingot", "serve", str(artifact)]
    options = ["--port", "0", "--grpc-port", "-1"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            addresses = (line.split()[-1] for line in process.stdout if "serving at" in line)
            yield next(addresses)
        finally:
            process.terminate()


def main(folder: Path) -> None:
    """Runs the demo."""
    model = resolve("cifar_resnet")
    assert model.default_dataset is not None
    data = open_dataset(model.default_dataset, model.preprocessing, ["image"])
    folder.mkdir(parents=True, exist_ok=True)
    steps = Steps()
    try:
        compile_for_cpu(model, folder, steps)
        best = optimize(model, data, folder, steps)
        page = compare(model, best, data, folder, steps)
        run_on_npu(model, data, folder, steps)
        serve(best, data, steps)
    finally:
        steps.end()
    steps.begin(f"The report: {page.resolve()}")
    steps.found(f"Beside it: {', '.join(sorted(file.name for file in folder.iterdir()))}")
    if steps.console.is_terminal and (os.environ.get("DISPLAY") or sys.platform == "darwin"):
        webbrowser.open(page.resolve().as_uri())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
