"""One version of a model that a server has loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.manifest import Manifest, TensorSpec
from ingot.runtime.session import Session
from ingot.serving.batching.queueing import Ticket
from ingot.serving.batching.scheduler import Scheduler
from ingot.serving.models.counts import Counts
from ingot.serving.models.model_process import ModelProcesses
from ingot.serving.options import ModelOptions
from ingot.serving.requests import InferenceRequest, Outcome

Array = npt.NDArray[Any]
_MIB = 1 << 20


class ServedModel:
    """A loaded artifact with its waiting line.

    Attributes:
        name: The model's name.
        version: Its version.
        path: Where the artifact lies.
        options: How it is served.
        counts: What happened to its requests.
    """

    def __init__(self, name: str, version: str, path: Path, options: ModelOptions) -> None:
        """Loads an artifact.

        Raises:
            ArtifactError: It is missing, damaged, of an unknown version or not for this machine.
            UsageError: An option is out of its range.
        """
        self.name = name
        self.version = version
        self.path = path
        self.options = options
        self.counts = Counts()
        threads = options.threads or max(1, usable_cpus() // options.instances)
        limit = options.memory_limit_mib
        memory = None if limit is None else int(limit * _MIB)
        self._processes: ModelProcesses | None = None
        self._session: Session | ModelProcesses
        if options.isolation == "process":
            self._session = self._processes = ModelProcesses(
                path, options.instances, threads=threads, memory_limit=memory, trust=options.trust
            )
        else:
            self._session = Session(path, threads=threads, memory_limit=memory, trust=options.trust)
        self._scheduler = Scheduler(
            name,
            self._run,
            self._session.inputs,
            self._session.outputs,
            options.policy(),
            self.counts.ran,
        )

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""
        return self._session.outputs

    @property
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""
        return self._session.manifest

    @property
    def joins(self) -> bool:
        """Whether requests can be joined into batches."""
        return self._scheduler.joins and self.options.max_batch_size > 1

    @property
    def threads(self) -> int:
        """Threads of each instance."""
        return self._session.threads

    @property
    def trouble(self) -> str:
        """Why it can run nothing now, as its processes have ended; empty if it can."""
        return "" if self._processes is None else self._processes.trouble

    @property
    def restarts(self) -> int:
        """How often a process of its own has ended by itself."""
        return 0 if self._processes is None else self._processes.restarts

    def require_available(self) -> None:
        """Refuses what it could not run now.

        Raises:
            RefusedError: It has no process at the moment; it will soon.
        """
        if self._processes is not None:
            self._processes.require_available()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._scheduler.waiting

    def submit(
        self, request: InferenceRequest, answered: Callable[[Ticket, Outcome], None]
    ) -> Ticket:
        """Lets a request wait for its turn; see :meth:`Scheduler.submit`.

        Raises:
            RefusedError: It gets no result.
        """
        self.require_available()
        return self._scheduler.submit(request, answered)

    def cancel(self, ticket: Ticket) -> None:
        """Gives up a request."""
        self._scheduler.cancel(ticket)

    def close(self, timeout: float | None = None) -> None:
        """Answers what waits, within ``timeout`` seconds, and gives everything back."""
        self._scheduler.close(timeout)
        self._session.close()

    def _run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return self._session.run(inputs)
