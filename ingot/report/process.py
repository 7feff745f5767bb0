"""A variant in a fresh process of its own, seen from the process that measures."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

import psutil

import ingot.errors
from ingot.compiler.fresh_process.session import environment_of_this_ingot
from ingot.errors import IngotError, UsageError, signal_name
from ingot.files import temporary_file
from ingot.report.workers.protocol import Array, read_frame, write_frame

EngineName: TypeAlias = Literal["ingot", "onnxruntime", "openvino", "openvino_bf16"]
# What a process can run: a model's engine, or the probe of one of the machine's peaks.
WorkerName: TypeAlias = EngineName | Literal["probe", "integer_probe", "bfloat16_probe"]

_INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "openvino": "pip install openvino",
    "openvino_bf16": "pip install openvino",
    "ingot": "pip install ingot",
    "probe": "pip install 'ingot[compile]'",
    "integer_probe": "pip install 'ingot[compile]'",
    "bfloat16_probe": "pip install 'ingot[compile]'",
}
_GRACE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """An input as the engine sees it; a string in the shape is a symbol."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclasses.dataclass(frozen=True)
class Timed:
    """Inferences that ran one after another.

    Attributes:
        nanoseconds: Of each, int64 [runs].
        seconds: Of all.
        cpu_seconds: What all threads of the process took meanwhile.
    """

    nanoseconds: Array
    seconds: float
    cpu_seconds: float


class Worker:
    """A model loaded by one engine in a process that holds nothing else.

    Attributes:
        name: The variant's name, for messages.
        inputs: The model's inputs.
        outputs: The names of the model's outputs.
        facts: What the engine says of itself.
        load_seconds: How long loading the model took, imports left out.
        baseline_bytes: Resident memory after the imports, before loading.
    """

    def __init__(
        self, name: str, engine: WorkerName, path: Path, *, threads: int, cpus: tuple[int, ...]
    ) -> None:
        """Starts the process and loads the model.

        Args:
            name: The variant's name.
            engine: Who runs it.
            path: The artifact or the ``.onnx`` file.
            threads: Threads per inference.
            cpus: The CPUs that the process stays on.

        Raises:
            UsageError: The engine's package is not installed.
            IngotError: The model cannot be loaded, or the process died.
        """
        self.name = name
        self._engine = engine
        # A file and not a pipe: a worker that prints much would wait for a reader.
        self._errors = temporary_file()  # closed in close()
        command = [sys.executable, "-m", f"ingot.report.workers.{engine}", str(path)]
        command += ["--threads", str(threads), "--cpus", ",".join(map(str, cpus))]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment_of_this_ingot(),
        )
        try:
            hello, _ = self._receive()
        except BaseException:
            self.close()
            raise
        self.inputs = tuple(
            InputSpec(input_name, dtype, tuple(shape))
            for input_name, dtype, shape in hello["inputs"]
        )
        self.outputs: tuple[str, ...] = tuple(hello["outputs"])
        self.facts: dict[str, Any] = hello["facts"]
        self.load_seconds: float = hello["load_seconds"]
        self.baseline_bytes: int = hello["baseline_bytes"]

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def set_inputs(self, inputs: Mapping[str, Array]) -> None:
        """Gives the inputs that ``time`` runs on."""
        self._ask("inputs", inputs)

    def time(self, runs: int) -> Array:
        """Runs ``runs`` inferences one after another.

        Returns:
            Nanoseconds of each, int64 [runs].
        """
        return self.timed(runs).nanoseconds

    def timed(self, runs: int) -> Timed:
        """Runs ``runs`` inferences one after another, and says what they took in all."""
        header, arrays = self._ask("time", runs=runs)
        return Timed(arrays["ns"], float(header["seconds"]), float(header["cpu_seconds"]))

    def cpu_seconds(self) -> float:
        """CPU time that the process has used so far, to the system's tick."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def peak_bytes(self) -> int:
        """The most resident memory that the process has had so far."""
        header, _ = self._ask("memory")
        return int(header["peak_bytes"])

    def evaluate(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs one inference and returns its outputs by name."""
        _, outputs = self._ask("evaluate", inputs)
        return outputs

    def close(self) -> None:
        """Ends the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Worker:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process."""
        self.close()

    def _ask(
        self, operation: str, arrays: Mapping[str, Array] | None = None, **arguments: Any
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, {"operation": operation, **arguments}, arrays)
        except BrokenPipeError:
            raise self._death() from None
        return self._receive()

    def _receive(self) -> tuple[dict[str, Any], dict[str, Array]]:
        assert self._process.stdout is not None
        frame = read_frame(self._process.stdout)
        if frame is None:
            raise self._death()
        header, arrays = frame
        if "error" in header:
            raise self._reported(header["error"], header["kind"])
        return header, arrays

    def _reported(self, message: str, kind: str) -> IngotError:
        if kind == "ModuleNotFoundError":
            return UsageError(
                f"{self.name} needs a package that is not installed ({message}): "
                f"{_INSTALL[self._engine]}"
            )
        known = getattr(ingot.errors, kind, None)
        if isinstance(known, type) and issubclass(known, IngotError):
            return known(f"{self.name}: {message}")
        if kind == "MemoryError":
            return IngotError(f"{self.name} ran out of memory: {message}")
        return IngotError(f"{self.name} failed in {self._engine}: {message}")

    def _death(self) -> IngotError:
        """The one line for a process that is gone without a word."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        code = self._process.poll()
        if code is None:
            how = "closed its output"
        elif code < 0:
            how = f"was killed by {signal_name(-code)}"
            if code == -signal.SIGKILL:
                how += ", as the system does when memory runs out"
        else:
            how = f"ended with exit code {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        last = f"; its last line was: {lines[-1].strip()}" if lines else ""
        return IngotError(f"the {self._engine} process of {self.name} {how}{last}")
