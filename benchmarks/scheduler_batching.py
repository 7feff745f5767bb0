"""Requests per second that servers take within a bound of latency, on one machine over loopback.

Ingot's server, with and without batching, and other servers with ONNX Runtime behind them, with
theirs: Ray Serve, LitServe, Mosec, and a plain application on uvicorn, which has none. All run the
same model on as many threads, one request being one image or sentence, sent as bytes. Requests come
at random times (Poisson, open loop), and the rate is raised until the 99th percentile exceeds the
bound; then a closed loop at each concurrency.

    python benchmarks/scheduler_batching.py --json scheduler_batching.json

or a part: --models cifar_resnet --servers ingot,ingot-one-by-one --seconds 3. Peers run in a
virtual environment of their own, as they pin what Ingot does not:

    python -m venv peers && peers/bin/pip install 'ray[serve]' litserve mosec onnxruntime orjson
    python benchmarks/scheduler_batching.py --peers-python peers/bin/python

The load is made on the same CPUs. Below the table stands what the model alone does in a loop: no
server exceeds that.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil

from benchmarks.latency import describe_machine
from benchmarks.tables import markdown_table, names
from ingot.cli.source import find_model
from ingot.client.messages import Question, pack
from ingot.compiler.build import compile_model
from ingot.errors import IngotError
from ingot.report.machine import machine_facts
from ingot.runtime.session import Session
from ingot.serving.load.capacity import capacity
from ingot.serving.load.connection import prepared
from ingot.serving.load.loops import Place, closed_loop, open_loop

ROOT = Path(__file__).resolve().parents[1]
MODELS = {"cifar_resnet": "int8", "mobilenetv2": "fp32", "minilm": "fp32"}
"""The models, and what they are computed in."""
SERVERS = ("ingot", "ingot-one-by-one", "uvicorn", "litserve", "mosec", "ray")
_PEERS = {
    "uvicorn": ("benchmarks.serving_peers.plain_uvicorn", "/"),
    "litserve": ("benchmarks.serving_peers.lit_serve", "/predict"),
    "mosec": ("benchmarks.serving_peers.mosec_server", "/inference"),
    "ray": ("benchmarks.serving_peers.ray_serve", "/"),
}
# A short sentence, as of a query.
_TOKENS = 16
_VOCABULARY = 1000
_STARTS_WITHIN = 120.0
# Of the smallest requests per second that a run begins with, by what the model alone does.
_GUESS = 0.2


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model that is served.

    Attributes:
        name: Its name.
        artifact: Compiled.
        graph: The same for ONNX Runtime.
        inputs: One request.
        alone: Inferences per second of batches of 1 and of the largest, in a loop.
    """

    name: str
    artifact: Path
    graph: Path
    inputs: dict[str, Any]
    alone: dict[int, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the tables and writes the JSON; returns the exit code."""
    options = _parser().parse_args(arguments)
    machine = machine_facts()
    print(describe_machine(machine), flush=True)
    rows: list[dict[str, Any]] = []
    lost = 0
    try:
        with tempfile.TemporaryDirectory(prefix="ingot-") as scratch:
            for model in options.models:
                subject = _subject(model, Path(scratch), options)
                for server in options.servers:
                    row = _measure(subject, server, options)
                    print(f"{model} {server}: {row['rate']:.0f}/s", file=sys.stderr, flush=True)
                    lost += row["lost"] + row["wrong"]
                    rows.append(row)
                    if options.json is not None:
                        document = {"machine": machine.model_dump(mode="json"), "rows": rows}
                        options.json.write_text(json.dumps(document, indent=1) + "\n")
    except IngotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if rows:
            print(_table(rows, options))
    return 1 if lost else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=names, default=tuple(MODELS), help="names: a,b")
    parser.add_argument("--servers", type=names, default=SERVERS, help="names: a,b")
    parser.add_argument("--threads", type=int, default=1, help="per inference")
    parser.add_argument(
        "--instances", type=int, default=1, help="batches that Ingot runs at a time"
    )
    parser.add_argument("--batch", type=int, default=32, help="most rows of a batch")
    parser.add_argument("--delay-ms", type=float, default=1.0, help="most that a request waits")
    parser.add_argument("--p99-ms", type=float, default=50.0, help="the bound")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument(
        "--concurrency",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[1, 4, 16, 64],
        help="of the closed loops",
    )
    parser.add_argument("--peers-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser


def _subject(name: str, scratch: Path, options: argparse.Namespace) -> Subject:
    source = find_model(name)
    artifact, graph = scratch / f"{name}.ingot", scratch / f"{name}.onnx"
    compile_model(
        source.path,
        artifact,
        recipe=MODELS.get(name, "fp32"),
        calibration=source.default_dataset if MODELS.get(name) == "int8" else None,
        save_graph=graph,
    )
    generator = np.random.default_rng(0)
    with Session(artifact, threads=options.threads) as session:
        inputs = {}
        for spec in session.inputs:
            shape = tuple(
                size if isinstance(size, int) else _TOKENS if axis else 1
                for axis, size in enumerate(spec.shape)
            )
            if np.dtype(spec.dtype).kind == "i":
                inputs[spec.name] = generator.integers(1, _VOCABULARY, shape).astype(spec.dtype)
            else:
                inputs[spec.name] = generator.normal(size=shape).astype(spec.dtype)
        alone = {rows: _alone(session, inputs, rows) for rows in (1, options.batch)}
    return Subject(name, artifact, graph, inputs, alone)


def _alone(session: Session, inputs: Mapping[str, Any], rows: int) -> float:
    """Rows per second of a session in a loop."""
    batch = {name: np.repeat(array, rows, axis=0) for name, array in inputs.items()}
    session.run(batch)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + 1.0:
        session.run(batch)
        count += rows
    return count / (time.perf_counter() - begin)


def _measure(subject: Subject, server: str, options: argparse.Namespace) -> dict[str, Any]:
    with _running(subject, server, options) as (process, place):
        # What a server does when it is first asked is not what it does.
        closed_loop(place, 8, 1.0)
        used = _cpu_seconds(process)
        begin = time.perf_counter()
        found = capacity(
            lambda rate: open_loop(place, rate, options.seconds),
            options.p99_ms / 1e3,
            _GUESS * subject.alone[1],
        )
        cpu = (_cpu_seconds(process) - used) / (time.perf_counter() - begin)
        closed = {
            concurrency: closed_loop(place, concurrency, options.seconds)
            for concurrency in options.concurrency
        }
    outcomes = [found.outcome, *closed.values()]
    return {
        "model": subject.name,
        "precision": MODELS.get(subject.name, "fp32"),
        "threads": options.threads,
        "instances": options.instances if server.startswith("ingot") else 1,
        "batch": options.batch if server != "ingot-one-by-one" else 1,
        "server": server,
        "p99_bound_ms": options.p99_ms,
        "rate": found.rate,
        "p50_ms": found.outcome.percentile(50) * 1e3,
        "p95_ms": found.outcome.percentile(95) * 1e3,
        "p99_ms": found.outcome.percentile(99) * 1e3,
        "cpus": cpu,
        "alone": subject.alone,
        "lost": sum(outcome.lost for outcome in outcomes),
        "wrong": sum(outcome.wrong for outcome in outcomes),
        "closed_loop": {
            str(concurrency): {
                "rate": outcome.throughput,
                "p50_ms": outcome.percentile(50) * 1e3,
                "p99_ms": outcome.percentile(99) * 1e3,
            }
            for concurrency, outcome in closed.items()
        },
    }


@contextlib.contextmanager
def _running(
    subject: Subject, server: str, options: argparse.Namespace
) -> Iterator[tuple[subprocess.Popen[bytes], Place]]:
    """A server that runs, and where its requests go."""
    port = _free_port()
    if server.startswith("ingot"):
        command, environment, place = _own(subject, server, options, port)
    else:
        command, environment, place = _peer(subject, server, options, port)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, cwd=ROOT, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait_until_answered(process, place, server, log)
            yield process, place
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


Started = tuple[list[str], dict[str, str], Place]


def _own(subject: Subject, server: str, options: argparse.Namespace, port: int) -> Started:
    batching = server == "ingot"
    program = "from ingot.cli.entry import run; run()"
    command = [
        sys.executable, "-c", program, "serve", f"model={subject.artifact}",
        "--port", str(port), "--grpc-port", "-1", "--threads", str(options.threads),
        "--instances", str(options.instances),
        "--max-batch-size", str(options.batch if batching else 1),
        "--max-queue", "100000",
        "--max-delay-ms", str(options.delay_ms if batching else 0.0),
    ]  # fmt: skip
    packed = pack(Question(subject.inputs), None)
    request = prepared(f"127.0.0.1:{port}", "/v2/models/model/infer", packed.body, packed.headers)
    return command, {"PYTHONPATH": str(ROOT)}, Place("127.0.0.1", port, request, _is_result)


def _is_result(body: bytes) -> bool:
    return body.startswith(b'{"model_name":"model"')


def _peer(subject: Subject, server: str, options: argparse.Namespace, port: int) -> Started:
    module, path = _PEERS[server]
    arrays = subject.inputs
    facts = {
        "model": str(subject.graph),
        "threads": options.threads,
        "batch": options.batch,
        "delay": options.delay_ms / 1e3,
        "inputs": [[name, a.dtype.name, a.shape] for name, a in arrays.items()],
    }
    body = b"".join(array.tobytes() for array in arrays.values())
    headers = {}
    if server == "litserve":
        body = json.dumps({"tensors": base64.b64encode(body).decode()}).encode()
        headers = {"Content-Type": "application/json"}
    environment = {
        "PYTHONPATH": str(ROOT),
        "PEER_PORT": str(port),
        "PEER_FACTS": json.dumps(facts),
    }
    command = [str(options.peers_python), "-m", module]
    if server == "mosec":
        command += ["--port", str(port), "--log-level", "error", "--timeout", "30000"]
        command += ["--capacity", "100000"]
    return (
        command,
        environment,
        Place("127.0.0.1", port, prepared("127.0.0.1", path, body, headers)),
    )


def _wait_until_answered(
    process: subprocess.Popen[bytes], place: Place, server: str, log: Any
) -> None:
    head, _, body = place.request.partition(b"\r\n\r\n")
    path = head.split(b" ")[1].decode()
    lines = head.decode().split("\r\n")[1:]
    headers = dict(line.split(": ", 1) for line in lines)
    until = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        connection = http.client.HTTPConnection(place.host, place.port, timeout=10)
        try:
            connection.request("POST", path, body, headers)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines()[-5:]
    raise IngotError(f"server {server} did not start: {' / '.join(said)}")


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds of a process and those that it started."""
    total = 0.0
    try:
        parent = psutil.Process(process.pid)
        for each in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                total += times.user + times.system
    except psutil.Error:
        return total
    return total


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def _table(rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> str:
    headings = [
        "model",
        "server",
        f"requests/s, p99 <= {options.p99_ms:g} ms",
        "p50 / p95 / p99 ms",
    ]
    headings += ["CPUs", *(f"closed, {c}" for c in options.concurrency), "lost"]
    cells = [
        [
            f"{row['model']} {row['precision']}",
            row["server"],
            f"{row['rate']:,.0f}",
            f"{row['p50_ms']:.1f} / {row['p95_ms']:.1f} / {row['p99_ms']:.1f}",
            f"{row['cpus']:.2f}",
            *(f"{closed['rate']:,.0f}" for closed in row["closed_loop"].values()),
            str(row["lost"] + row["wrong"]),
        ]
        for row in rows
    ]
    alone = {row["model"]: row["alone"] for row in rows}
    notes = [
        f"{model} alone, in a loop: "
        + ", ".join(f"{rate:,.0f}/s in batches of {size}" for size, rate in rates.items())
        for model, rates in alone.items()
    ]
    return "\n".join([markdown_table(headings, cells, text_columns=2), "", *notes])


if __name__ == "__main__":
    sys.exit(main())
