"""``ingot serve``: answers requests for inference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingot.cli.text import printable
from ingot.errors import UsageError

if TYPE_CHECKING:
    from ingot.serving.server import Server


def serve(
    artifacts: Annotated[
        list[str] | None, typer.Argument(help="Artifacts: FILE, or NAME=FILE.")
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(help="A folder: NAME.ingot, or NAME/VERSION/*.ingot.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with the same keys; options here go first.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port for HTTP; 0: any. [8000]")] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port for gRPC; 0: any, -1: no gRPC. [8001]")
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(help="Most rows that requests are joined to. [32]")
    ] = None,
    max_delay_ms: Annotated[
        float | None, typer.Option(help="How long a request waits for others. [0]")
    ] = None,
    max_queue: Annotated[
        int | None, typer.Option(help="Most requests that wait, for each model. [256]")
    ] = None,
    instances: Annotated[
        int | None, typer.Option(help="Batches of a model that run at a time. [1]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of each instance; default: CPUs / instances.")
    ] = None,
    timeout_ms: Annotated[
        float | None, typer.Option(help="How long a request may wait; default: for ever.")
    ] = None,
    max_body_mib: Annotated[
        float | None, typer.Option(help="Largest body of a request. [64]")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="INGOT_SERVE_TOKEN", help="Bearer token that requests need."),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate, a PEM file.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    access_log: Annotated[
        str | None, typer.Option(help="A file that gets a line of JSON a request; -: here.")
    ] = None,
    trace_rate: Annotated[
        float | None, typer.Option(help="Share of requests to trace, 0 to 1. [0]")
    ] = None,
    trace_folder: Annotated[
        Path | None, typer.Option(help="A folder for the traces; `ingot trace` reads them.")
    ] = None,
    shared_memory: Annotated[
        bool | None,
        typer.Option("--shared-memory", help="Let clients here hand over tensors in /dev/shm."),
    ] = None,
    isolation: Annotated[
        str | None,
        typer.Option(help="none, or process: models in processes of their own. [none]"),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(help="Public keys, one of which has signed each; default: $INGOT_TRUST."),
    ] = None,
    drain_seconds: Annotated[
        float | None, typer.Option(help="How long answers may take when it ends. [30]")
    ] = None,
) -> None:
    """Serve artifacts over HTTP and gRPC (Open Inference Protocol, KServe v2).

    Example: `ingot serve model.ingot --max-batch-size 16 --max-delay-ms 2`
    """
    given: dict[str, Any] = {
        name: value for name, value in locals().items() if name not in ("config", "artifacts")
    }
    if artifacts:
        given["artifacts"] = tuple(artifacts)
    try:
        from ingot.serving.options import server_options
        from ingot.serving.server import Server
    except ModuleNotFoundError as error:
        raise UsageError(
            f"serving needs {error.name}, which is not installed: pip install 'ingot[serve]'"
        ) from None
    server = Server(server_options(given, config))
    for model in server.repository.loaded():
        batches = (
            f"batches of up to {model.options.max_batch_size}" if model.joins else "no batches"
        )
        typer.echo(
            printable(
                f"{model.name} version {model.version}: {model.options.instances} x "
                f"{model.threads} threads, {batches}"
            )
        )
    server.run(lambda: typer.echo(_places(server)))


def _places(server: Server) -> str:
    grpc = "" if server.grpc_port is None else f", gRPC at port {server.grpc_port}"
    return f"serving at {server.url}{grpc}"
