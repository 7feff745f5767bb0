"""``ingot serve-tune``: finds how to batch a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingot.cli.shapes import parse_shapes
from ingot.cli.text import printable
from ingot.errors import UsageError
from ingot.files import atomic_file, require_writable_in

if TYPE_CHECKING:
    from ingot.serving.load.outcomes import LoadOutcome
    from ingot.serving.tuning.candidates import Candidate
    from ingot.serving.tuning.search import Loaded, Tuning

_NAME = "model"
_WARM_UP_SECONDS = 0.5
# Of what the model does alone in a loop, the rate that a search begins with.
_GUESS = 0.25


def serve_tune(
    artifact: Annotated[Path, typer.Argument(help="An *.ingot file.")],
    p99: Annotated[
        str, typer.Option(help="Bound of the 99th percentile, such as 20ms or 0.5s.")
    ] = "20ms",
    shape: Annotated[
        list[str] | None, typer.Option(help="NAME=SIZES of an input with open sizes, repeatable.")
    ] = None,
    max_batch_size: Annotated[int, typer.Option(min=1, help="Most rows of a batch.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each load goes on.")] = 2.0,
    budget_seconds: Annotated[float, typer.Option(min=0, help="Time for all of it.")] = 600.0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A TOML file for ingot serve --config.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="A page with the Pareto front.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find how to batch a model: what each way takes within a bound of latency.

    Example: `ingot serve-tune model.ingot --p99 20ms -o serve.toml --html tuning.html`
    """
    bound = _milliseconds(p99)
    for file in (output, html):
        if file is not None:
            require_writable_in(file.parent, [file.name], inputs=[artifact])
    tuning = _tuned(artifact, bound, parse_shapes(shape or []), max_batch_size, seconds,
                    budget_seconds)  # fmt: skip
    if output is not None:
        with atomic_file(output) as opened:
            opened.write(_configuration(artifact, bound, tuning).encode())
    if html is not None:
        with atomic_file(html) as opened:
            opened.write(_page(artifact, bound, tuning).encode())
    if as_json:
        typer.echo(json.dumps(_summary(bound, tuning), indent=2))
    else:
        _print(bound, tuning)
    if tuning.best is None:
        typer.echo(f"no way of batching answers within {bound:g} ms", err=True)
        raise typer.Exit(1)


def _milliseconds(text: str) -> float:
    number, factor = (text[:-2], 1.0) if text.endswith("ms") else (text.removesuffix("s"), 1e3)
    try:
        value = float(number) * factor
    except ValueError:
        value = 0.0
    if not 0 < value < 1e7 or text[-1:] != "s":
        raise UsageError(f"--p99 {text!r} is no duration, such as 20ms or 0.5s")
    return value


def _tuned(
    artifact: Path, bound: float, shapes: Mapping[str, tuple[int, ...]], most_rows: int,
    seconds: float, budget: float,
) -> Tuning:  # fmt: skip
    try:
        from ingot.client.messages import Question, pack
        from ingot.report.bench import input_specs, random_arrays
        from ingot.serving.batching.shapes import batch_axis
        from ingot.serving.load.connection import prepared
        from ingot.serving.load.loops import Place, closed_loop, open_loop
        from ingot.serving.tuning.candidates import candidates
        from ingot.serving.tuning.search import measure_candidate, tune
        from ingot.serving.tuning.server_process import server_process
    except ModuleNotFoundError as error:
        raise UsageError(
            f"tuning needs {error.name}, which is not installed: pip install 'ingot[serve,compile]'"
        ) from None
    from ingot.runtime.cpu_quota import usable_cpus
    from ingot.runtime.session import Session

    with Session(artifact) as session:
        inputs = random_arrays(input_specs(session.manifest), shapes)
        joins = batch_axis(session.inputs, session.outputs) is not None
        session.run(inputs)
        guess = _GUESS / _seconds_of(session, inputs)
    packed = pack(Question(inputs), None)

    def measure(candidate: Candidate) -> Loaded:
        arguments = [
            f"{_NAME}={artifact}",
            *("--max-batch-size", candidate.max_batch_size),
            *("--max-delay-ms", candidate.max_delay_ms),
            *("--instances", candidate.instances, "--threads", candidate.threads),
            *("--max-queue", 100_000),
        ]
        with server_process(arguments) as (host, port):
            request = prepared(host, f"/v2/models/{_NAME}/infer", packed.body, packed.headers)
            place = Place(host, port, request)
            closed_loop(place, 4, _WARM_UP_SECONDS)

            def load(rate: float) -> LoadOutcome:
                return open_loop(place, rate, seconds)

            return measure_candidate(candidate, load, bound / 1e3, guess)

    def tell(candidate: Candidate, loaded: Loaded) -> None:
        print(f"{candidate}: {loaded.rate:,.0f}/s", file=sys.stderr, flush=True)  # noqa: T201

    tried = candidates(bound, usable_cpus(), most_rows, joins=joins)
    return tune(tried, measure, budget, tell)


def _seconds_of(session: Any, inputs: Mapping[str, Any]) -> float:
    import time

    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + _WARM_UP_SECONDS:
        session.run(inputs)
        count += 1
    return (time.perf_counter() - begin) / count


def _configuration(artifact: Path, bound: float, tuning: Tuning) -> str:
    best = tuning.best
    if best is None:
        return f"# No way of batching answers {artifact.name} within {bound:g} ms.\n"
    chosen = best.candidate
    return (
        f"# {artifact.name}: {best.rate:.0f} requests per second within {bound:g} ms\n"
        f"max_batch_size = {chosen.max_batch_size}\n"
        f"max_delay_ms = {chosen.max_delay_ms:g}\n"
        f"instances = {chosen.instances}\n"
        f"threads = {chosen.threads}\n"
    )


def _page(artifact: Path, bound: float, tuning: Tuning) -> str:
    from ingot.report.machine import machine_facts
    from ingot.report.rendering.tuning import TunedRow, render_tuning

    machine = machine_facts()
    rows = [
        TunedRow(
            str(loaded.candidate),
            loaded.rate,
            tuple((point.rate, point.p99_ms) for point in loaded.points),
            loaded is tuning.best,
        )
        for loaded in tuning.measured
    ]
    return render_tuning(
        artifact.name,
        f"{machine.cpu}, {machine.logical_cpus} CPUs",
        bound,
        rows,
        [(point.rate, point.p99_ms) for point in tuning.front],
    )


def _summary(bound: float, tuning: Tuning) -> dict[str, Any]:
    import dataclasses

    return {
        "p99_bound_ms": bound,
        "best": None if tuning.best is None else dataclasses.asdict(tuning.best.candidate),
        "measured": [
            {"candidate": dataclasses.asdict(loaded.candidate), "rate": loaded.rate}
            for loaded in tuning.measured
        ],
        "front": [dataclasses.asdict(point) for point in tuning.front],
        "left": [dataclasses.asdict(candidate) for candidate in tuning.left],
    }


def _print(bound: float, tuning: Tuning) -> None:
    typer.echo(f"requests per second within {bound:g} ms (99th percentile), Poisson arrivals:")
    for loaded in tuning.measured:
        mark = "  <- best" if loaded is tuning.best else ""
        typer.echo(printable(f"{loaded.rate:>10,.0f}  {loaded.candidate}{mark}"))
    typer.echo("Pareto front, requests per second and 99th percentile:")
    for point in tuning.front:
        typer.echo(printable(f"{point.rate:>10,.0f}  {point.p99_ms:8.2f} ms  {point.candidate}"))
    if tuning.left:
        typer.echo(f"not tried for want of time: {len(tuning.left)}")
