"""What a server is told: the options of ``ingot serve``, which are the keys of its file too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic

from ingot.errors import UsageError, first_line
from ingot.serving.batching.policy import BatchPolicy
from ingot.toml_tables import parse_toml

_MOST_BYTES = 1 << 20


class ModelOptions(pydantic.BaseModel):
    """How one model is served.

    Attributes:
        max_batch_size: Most rows that requests are joined to; 1 joins nothing.
        max_delay_ms: Milliseconds that a request waits for others while an instance is free.
        preferred_sizes: Rows at which a batch runs at once.
        max_queue: Most requests that wait; beyond it they are refused.
        instances: Batches that run at a time.
        threads: Threads of each; none means the usable CPUs divided by the instances.
        timeout_ms: Milliseconds after which a request that waits is refused; none for never.
        memory_limit_mib: Most memory between kernels of an inference; none for no limit.
        isolation: ``none`` runs the model within the server, ``process`` in a process for each
            instance, whose end ends nothing else.
        trust: Public keys, a file or a folder, one of which has signed the artifact; none for the
            policy of the machine.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    max_batch_size: int = pydantic.Field(default=32, ge=1)
    max_delay_ms: float = pydantic.Field(default=0.0, ge=0)
    preferred_sizes: tuple[int, ...] = ()
    max_queue: int = pydantic.Field(default=256, ge=1)
    instances: int = pydantic.Field(default=1, ge=1, le=256)
    threads: int | None = pydantic.Field(default=None, ge=1)
    timeout_ms: float | None = pydantic.Field(default=None, gt=0)
    memory_limit_mib: float | None = pydantic.Field(default=None, gt=0)
    isolation: Literal["none", "process"] = "none"
    trust: Path | None = None

    def policy(self) -> BatchPolicy:
        """How requests are joined and bounded.

        Raises:
            UsageError: A preferred size is beyond the largest batch.
        """
        return BatchPolicy(
            max_batch_size=self.max_batch_size,
            max_delay=self.max_delay_ms / 1e3,
            preferred_sizes=self.preferred_sizes,
            max_queue=self.max_queue,
            instances=self.instances,
            timeout=None if self.timeout_ms is None else self.timeout_ms / 1e3,
        )


class ServerOptions(pydantic.BaseModel):
    """What ``ingot serve`` serves, where, and within which limits.

    Attributes:
        artifacts: Artifacts, each under its file's name or as ``NAME=FILE``.
        repository: A folder of models, ``NAME.ingot`` or ``NAME/VERSION/*.ingot``.
        host: The address that it listens at.
        port: The port for HTTP; 0 for any that is free.
        grpc_port: The port for gRPC; 0 for any that is free, -1 for no gRPC.
        max_body_mib: Largest body of a request, also when it is unpacked.
        max_requests: Most requests under way at a time, over all models.
        token: What requests have to bear in ``Authorization: Bearer``; none asks for nothing.
        certificate: A file with the TLS certificate; with ``key`` HTTP and gRPC are encrypted.
        key: A file with its private key.
        access_log: A file that gets a line of JSON for each request; ``-`` is standard output.
        trace_rate: Share of the requests whose stages are traced, 0 to 1.
        trace_folder: The folder that gets the traces.
        shared_memory: Whether clients on this machine may hand over tensors in shared memory.
        drain_seconds: How long requests under way may take when the server ends.
        default: How models are served that have no section of their own.
        models: The same by a model's name.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    artifacts: tuple[str, ...] = ()
    repository: Path | None = None
    host: str = "127.0.0.1"
    port: int = pydantic.Field(default=8000, ge=0, le=65535)
    grpc_port: int = pydantic.Field(default=8001, ge=-1, le=65535)
    max_body_mib: float = pydantic.Field(default=64.0, gt=0)
    max_requests: int = pydantic.Field(default=1024, ge=1)
    token: str | None = pydantic.Field(default=None, min_length=1)
    certificate: Path | None = None
    key: Path | None = None
    access_log: str | None = None
    trace_rate: float = pydantic.Field(default=0.0, ge=0, le=1)
    trace_folder: Path | None = None
    shared_memory: bool = False
    drain_seconds: float = pydantic.Field(default=30.0, ge=0)
    default: ModelOptions = ModelOptions()
    models: dict[str, ModelOptions] = {}

    def of_model(self, name: str) -> ModelOptions:
        """How a model is served."""
        return self.models.get(name, self.default)


def server_options(given: Mapping[str, Any], file: Path | None = None) -> ServerOptions:
    """Returns options from those of the command line and a file, which the former go before.

    Options of a model, as ``max_batch_size``, stand at the top level for all models and in
    ``[models.NAME]`` for one; there, what is not said is as at the top level.

    Raises:
        UsageError: The file cannot be read, or a key is unknown or has a value that does not fit.
    """
    values: dict[str, Any] = {} if file is None else _read(file)
    values.update({key: value for key, value in given.items() if value is not None})
    shared = {key: values.pop(key) for key in ModelOptions.model_fields if key in values}
    sections = values.get("models", {})
    if isinstance(sections, dict):
        values["models"] = {
            name: {**shared, **section} if isinstance(section, dict) else section
            for name, section in sections.items()
        }
    if "default" in values:
        raise UsageError("'default' is no option: what all models share stands at the top level")
    try:
        options = ServerOptions(default=ModelOptions(**shared), **values)
    except pydantic.ValidationError as error:
        raise UsageError(_said(error, file)) from None
    for model in (options.default, *options.models.values()):
        model.policy()
    if (options.certificate is None) != (options.key is None):
        raise UsageError("TLS needs both a certificate and a key")
    if options.trace_rate and options.trace_folder is None:
        raise UsageError("traces of requests (trace_rate) need a folder: trace_folder")
    return options


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{file} is too large for a configuration")
        values = parse_toml(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the configuration {file}: {first_line(error)}") from None
    return values


def _said(error: pydantic.ValidationError, file: Path | None) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    source = "" if file is None else f" ({file})"
    if first["type"] == "extra_forbidden":
        return f"unknown option '{where}'{source}; `ingot serve --help` lists them"
    return f"option '{where}'{source}: {first['msg']}"
