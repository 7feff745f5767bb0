"""What a session says of itself while it runs; the figures are worked out only where asked for."""

from __future__ import annotations

import abc
import functools
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ingot.runtime.execution import Execution
from ingot.runtime.manifest import Manifest
from ingot.runtime.recorder import Recorder

if TYPE_CHECKING:
    from ingot.runtime.statistics.figures import ArenaMemory, MemoryPhases, Statistics
    from ingot.runtime.statistics.metrics import MetricRegistry
    from ingot.runtime.statistics.monitor import Monitor


class Watched(abc.ABC):
    """What records its inferences, and keeps a look at its execution contexts."""

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._contexts: weakref.WeakSet[Execution] = weakref.WeakSet()
        # Bytes, once it is loaded.
        self._load_peak: int | None = None

    @property
    @abc.abstractmethod
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""

    def stats(self) -> Statistics:
        """Figures of this session: inferences, latency, throughput, memory, CPU, GPU and power.

        It may be called at any time, from any thread. Power is watched from the first call on.

        Raises:
            OSError: ``/proc`` is not mounted.
        """
        return self._monitor().read()

    @property
    def metrics(self) -> MetricRegistry:
        """Metrics of the application's own, which ``stats`` tells beside its figures."""
        return self._monitor().metrics

    def _monitor(self) -> Monitor:
        monitor: Monitor | None = self.__dict__.get("_watching")
        if monitor is None:
            from ingot.runtime.statistics.monitor import Monitor

            # Not of the session itself: it goes when its last user does, without the collector.
            arena = functools.partial(_arena_memory, self._contexts)
            phases = functools.partial(
                _memory_phases, self._contexts, self._load_peak, self.manifest.measured
            )
            made = Monitor(self.manifest.name, self._recorder, arena=arena, phases=phases)
            # Of two threads that are here at once one gets its own in, and both use that.
            monitor = self.__dict__.setdefault("_watching", made)
        return monitor


def _arena_memory(contexts: weakref.WeakSet[Execution]) -> ArenaMemory:
    from ingot.runtime.statistics.figures import ArenaMemory

    alive = list(contexts)
    held = [context.mapped for context in alive]
    most = [max(now, context.most_need) for now, context in zip(held, alive, strict=True)]
    return ArenaMemory(sum(held), sum(most))


def _memory_phases(
    contexts: weakref.WeakSet[Execution], load: int | None, measured: Mapping[str, Any]
) -> MemoryPhases:
    from ingot.runtime.statistics.figures import MemoryPhases

    contexts_now = list(contexts)
    least = [context.least_need for context in contexts_now if context.least_need is not None]
    return MemoryPhases(
        load=load,
        inference=min(least, default=None),
        batch=max((context.most_need for context in contexts_now), default=0) if least else None,
        optimization=max(measured.get("stage_peak_bytes", {}).values(), default=None),
    )
