"""The main job from end to end, on the bundled model and images.

Compiles ``cifar_resnet`` for this CPU, runs the artifact on 1,000 real images, compares it with
ONNX Runtime, and writes the artifact and the report into a folder.

Run it with ``make demo``, or: python -m examples.demo [FOLDER]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import ingot
from ingot.data import Dataset, open_dataset
from ingot.models.catalog import ModelSource, resolve


class Steps:
    """Prints each step and its findings; shows what is under way on a terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task("", total=None)
        self._what = ""
        if self._console.is_terminal:
            self._bar.start()

    def begin(self, title: str) -> None:
        """Begins a step."""
        self._console.print(f"\n[bold]{title}[/bold]")

    def found(self, text: str) -> None:
        """Prints what a step found."""
        self._console.print(f"   {text}", markup=False)

    def tell(self, what: str, done: int = 0, total: int = 0) -> None:
        """Notes what is being done, and how much of it is done."""
        if what != self._what:
            self._what = what
            self._bar.reset(self._task, description=what, total=total or None)
            if not self._console.is_terminal:
                self.found(f"{what} ...")
        self._bar.update(self._task, completed=done, total=total or None)

    def end(self) -> None:
        """Takes the bar away."""
        self._bar.stop()


def compile_model(model: ModelSource, path: Path, steps: Steps) -> ingot.Artifact:
    """Compiles the model and says what came of it."""
    steps.begin(f"1. Compile {model.name} for this CPU")
    started = time.perf_counter()
    artifact = ingot.compile(model.path, path, progress=steps.tell)
    seconds = time.perf_counter() - started
    passes = artifact.manifest.passes
    changed = sum(record["changed"] for record in passes)
    nodes = f"{passes[0]['nodes_before']} to {passes[-1]['nodes_after']} nodes"
    difference = artifact.manifest.measured["verification"]["max_rel_error"]
    steps.found(f"{len(passes)} passes ran, {changed} changed the graph: {nodes}")
    steps.found(f"largest difference from ONNX Runtime: {difference:.1e} of the outputs' scale")
    steps.found(f"{path}: {artifact.size / 1e6:.2f} MB, made in {seconds:.1f} s")
    return artifact


def check_accuracy(path: Path, data: Dataset, steps: Steps) -> None:
    """Loads the artifact as a deployed machine would, and runs every image."""
    steps.begin(f"2. Load the artifact and run {data.description}")
    right = 0
    with ingot.load(path) as session:
        name = session.outputs[0].name
        for number, example in enumerate(data, start=1):
            scores = session.run(example.inputs[0])[name]
            right += int(scores.argmax() == example.label)
            steps.tell("running the images", number, len(data))
    steps.found(f"{right:,} of {len(data):,} right: {100 * right / len(data):.2f} %")


def compare(model: ModelSource, data: Dataset, folder: Path, steps: Steps) -> None:
    """Compares Ingot with ONNX Runtime and writes the report."""
    steps.begin("3. Compare with ONNX Runtime, each in a process of its own, timed in turn")
    report = ingot.compare(model.path, ["fp32"], data, name=model.name, progress=steps.tell)
    page = report.write(folder)
    for variant in report.variants:
        accuracy = variant.metrics[0]
        steps.found(
            f"{variant.name:<18} {accuracy.name} {accuracy.value.value:6.2f} %   "
            f"median {variant.latency.median.value:.2f} ms   "
            f"peak memory {variant.memory.peak / 1e6:.0f} MB"
        )
    steps.found(report.headline)
    for warning in report.warnings:
        steps.found(f"Note: {warning}")
    steps.begin(f"The report: {page.resolve()}")
    steps.found(f"Beside it: {', '.join(sorted(file.name for file in folder.iterdir()))}")


def main(folder: Path) -> None:
    """Runs the demo."""
    model = resolve("cifar_resnet")
    assert model.default_dataset is not None
    data = open_dataset(model.default_dataset, model.preprocessing, ["image"])
    folder.mkdir(parents=True, exist_ok=True)
    steps = Steps()
    try:
        artifact = compile_model(model, folder / "cifar_resnet.ingot", steps)
        check_accuracy(artifact.path, data, steps)
        compare(model, data, folder, steps)
    finally:
        steps.end()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
