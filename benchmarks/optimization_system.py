"""What each optimization brings on its own, and all of them by ``ingot optimize``.

For each model and optimization: how much smaller the artifact is, how much faster, timed in turn
with fp32, and how much accuracy is lost on the same examples, each beside what users expect of such
an optimization. Nothing is retrained.

    python benchmarks/optimization_system.py --data DIR --json optimization_system.json

Rows: graph fusion is fp32 against the same without its fusions; int8, pruning of 10 % of the
parameters and mixed precision (bf16; of a target without units for it, weights alone) are each
against fp32; ``optimize`` is what the search keeps of all of them. Peers have a column where they
have the feature: OpenVINO in bfloat16 against OpenVINO in float32, where openvino is installed.

DIR is that of int8_accuracy.py. For a part: --models cifar_resnet --limit 1000. With --state
FOLDER finished work is kept, and a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pydantic

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.calibration_data import SAMPLES, calibration_data, data_folder, judged_data
from benchmarks.tables import markdown_table, names
from ingot.cli.measuring import progress
from ingot.compiler.accuracy.judging import judge
from ingot.compiler.recipe import NAMED_RECIPES, PruneOptions
from ingot.errors import IngotError
from ingot.models.catalog import resolve
from ingot.optimization.candidates import Candidate, Candidates
from ingot.optimization.optimizing import optimize
from ingot.optimization.steps import guard_steps
from ingot.optimization.subject import Subject, open_subject
from ingot.optimization.workplace import Workplace
from ingot.progress import Progress
from ingot.reference.session import Reference
from ingot.report.machine import machine_facts
from ingot.report.measure import MeasureSettings, choose_cpus, measure
from ingot.report.process import EngineName, Worker
from ingot.report.rendering import formats
from ingot.statistics import ratio_of_medians

MODELS = (
    "mobilenetv2", "resnet50", "efficientnet_b0", "efficientnet_lite0", "cifar_resnet", "minilm",
)  # fmt: skip
FP32 = NAMED_RECIPES["fp32"]
# What users expect: times smaller, times faster, the largest loss in points.
EXPECTED = {
    "graph fusion": (1.0, 1.5, 0.0),
    "int8": (4.0, 2.1, 1.0),
    "pruning 10 %": (1.1, 1.3, 0.5),
    "mixed precision": (2.0, 1.8, 0.5),
    "optimize": None,
}


class OptimizationRow(pydantic.BaseModel):
    """One optimization of one model, against fp32.

    Attributes:
        model: The model's name.
        optimization: Which one.
        threads: Threads of an inference.
        smaller: Bytes of the other artifact by those of this one.
        faster: Ratio of the medians, in turn.
        faster_low: Lower end of its 95 % interval.
        faster_high: Upper end.
        metric: What accuracy means.
        lost: How much of it, in points, on the same examples.
        lost_low: Lower end of its 95 % interval.
        lost_high: Upper end.
        n: Examples.
        kept: Of ``optimize``, the steps that were kept.
        peers: What the same feature brings others: name to times faster.
    """

    model: str
    optimization: str
    threads: int = 1
    smaller: float
    faster: float
    faster_low: float
    faster_high: float
    metric: str
    lost: float
    lost_low: float
    lost_high: float
    n: int
    kept: tuple[str, ...] = ()
    peers: dict[str, float] = {}

    @property
    def short_of(self) -> str:
        """In what it falls short of what users expect, by the point estimates."""
        expected = EXPECTED[self.optimization]
        if expected is None:
            return ""
        smaller, faster, lost = expected
        found = [
            (f"size {smaller:g}x", round(self.smaller, 2) >= smaller),
            (f"speed {faster:g}x", self.faster >= faster),
            (f"loss {lost:g}", self.lost <= lost + 1e-9),
        ]
        return ", ".join(what for what, reached in found if not reached) or "reached"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    options = _options(arguments)
    rows: list[OptimizationRow] = []
    try:
        with tempfile.TemporaryDirectory() as scratch, progress() as tell:
            for model in options.models:
                _measure(model, options, options.state or Path(scratch), rows, tell)
    except IngotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if rows:
            print(_table(rows))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=names, default=MODELS, help="names: a,b")
    parser.add_argument("--optimizations", type=names, default=tuple(EXPECTED), help="of the rows")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the data sets")
    parser.add_argument("--limit", type=int, help="examples to judge on, at most")
    parser.add_argument("--threads", type=int, default=1, help="of an inference")
    parser.add_argument("--runs", type=int, default=100, help="timed inferences of either side")
    parser.add_argument("--budget", type=float, default=0.5, help="of optimize, in points")
    parser.add_argument("--state", type=Path, help="a folder that keeps finished work")
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser.parse_args(arguments)


def _measure(
    name: str,
    options: argparse.Namespace,
    state: Path,
    rows: list[OptimizationRow],
    tell: Progress,
) -> None:
    """Adds the rows of one model as they are found."""
    source = resolve(name)
    inputs = list(Reference(source.path).inputs)
    subject, _ = open_subject(
        source.path,
        judged_data(source, inputs, options.data, options.limit),
        None,
        source.preprocessing,
        calibration_data(source, inputs, options.data, SAMPLES),
        None,
        None,
    )
    settings = MeasureSettings(
        threads=options.threads, cpus=choose_cpus(options.threads), runs=options.runs, seconds=20.0
    )
    maker = Candidates(subject, Workplace(state), settings, machine_facts().cpu, tell)
    fp32 = maker.compile("fp32", FP32)
    for optimization in options.optimizations:
        if optimization == "optimize":
            row = _optimized(name, subject, options, state, tell)
        else:
            before, after = _pair(optimization, maker, fp32)
            row = _row(name, optimization, maker, subject, before, after)
        peers = _peers(optimization, subject, settings, tell)
        rows.append(row.model_copy(update={"threads": options.threads, "peers": peers}))
        print(_line(rows[-1]), flush=True)
        if options.json is not None:
            _write(options.json, rows)


def _pair(optimization: str, maker: Candidates, fp32: Candidate) -> tuple[Candidate, Candidate]:
    """What is compared: without the optimization, and with it."""
    if optimization == "graph fusion":
        bare, _ = guard_steps(FP32)
        return maker.compile("fp32 without fusion", bare), fp32
    if optimization == "pruning 10 %":
        recipe = FP32.model_copy(update={"prune": PruneOptions(ratio=0.1)})
    else:
        recipe = NAMED_RECIPES["int8" if optimization == "int8" else "bf16"]
    return fp32, maker.compile(optimization, recipe)


def _row(
    name: str,
    optimization: str,
    maker: Candidates,
    subject: Subject,
    before: Candidate,
    after: Candidate,
) -> OptimizationRow:
    assert subject.metric is not None and subject.data is not None
    speed = maker.speed(after, before)
    answers = [maker.answers(one, subject.metric) for one in (after, before)]
    found = judge(subject.metric, *answers, subject.data.labels, 0.0)
    return OptimizationRow(
        model=name,
        optimization=optimization,
        smaller=before.size / after.size,
        faster=speed.ratio,
        faster_low=speed.low,
        faster_high=speed.high,
        metric=found.metric,
        lost=found.loss,
        lost_low=found.low,
        lost_high=found.high,
        n=found.examples,
    )


def _optimized(
    name: str, subject: Subject, options: argparse.Namespace, state: Path, tell: Progress
) -> OptimizationRow:
    """What the search keeps; where that is nothing, the artifact is that of fp32."""
    assert subject.metric is not None and subject.data is not None
    with tempfile.TemporaryDirectory() as folder:
        found = optimize(
            subject.model,
            Path(folder) / "best.ingot",
            subject.data,
            accuracy_budget=options.budget,
            calibration=subject.calibration,
            threads=options.threads,
            state=state,
            progress=tell,
        ).optimization
    speed, accuracy = found.speed, found.accuracy
    ratio = (1.0, 1.0, 1.0) if speed is None else (speed.ratio, speed.low, speed.high)
    lost = (0.0, 0.0, 0.0) if accuracy is None else (accuracy.loss, accuracy.low, accuracy.high)
    return OptimizationRow(
        model=name,
        optimization="optimize",
        smaller=found.reference_bytes / found.bytes,
        **dict(zip(("faster", "faster_low", "faster_high"), ratio, strict=True)),
        metric=subject.metric.name,
        **dict(zip(("lost", "lost_low", "lost_high"), lost, strict=True)),
        n=len(subject.data),
        kept=found.kept,
    )


def _peers(
    optimization: str, subject: Subject, settings: MeasureSettings, tell: Progress
) -> dict[str, float]:
    """What the same feature brings others, where they are installed."""
    if optimization != "mixed precision" or importlib.util.find_spec("openvino") is None:
        return {}
    engines: tuple[EngineName, EngineName] = ("openvino", "openvino_bf16")
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker(one, one, subject.model, threads=settings.threads, cpus=settings.cpus)
            )
            for one in engines
        ]
        before, after = measure(workers, subject.timed, settings, tell)
    return {"OpenVINO bf16": ratio_of_medians(before.rounds, after.rounds).value}


def _write(path: Path, rows: Sequence[OptimizationRow]) -> None:
    document = {
        "machine": machine_facts().model_dump(mode="json"),
        "rows": [{**row.model_dump(mode="json"), "short_of": row.short_of} for row in rows],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _line(row: OptimizationRow) -> str:
    return f"{row.model}, {row.optimization}: " + ", ".join(_cells(row)[2:])


def _table(rows: Sequence[OptimizationRow]) -> str:
    headings = [
        "model", "optimization", "smaller", "faster", "95 % interval", "lost", "95 % interval",
        "n", "expected", "short of", "peers", "steps kept",
    ]  # fmt: skip
    return markdown_table(headings, [_cells(row) for row in rows], text_columns=2)


def _cells(row: OptimizationRow) -> list[str]:
    expected = EXPECTED[row.optimization]
    wanted = "" if expected is None else "{:g}x, {:g}x, {:g}".format(*expected)
    return [
        row.model,
        row.optimization,
        f"{row.smaller:.2f}x",
        f"{row.faster:.2f}x",
        f"{row.faster_low:.2f} to {row.faster_high:.2f}",
        formats.difference(row.lost),
        f"{formats.difference(row.lost_low)} to {formats.difference(row.lost_high)}",
        f"{row.n:,}",
        wanted,
        row.short_of,
        ", ".join(f"{peer} {ratio:.2f}x" for peer, ratio in row.peers.items()),
        ", ".join(row.kept),
    ]


if __name__ == "__main__":
    sys.exit(main())
