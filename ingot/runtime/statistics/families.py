"""The figures of sessions as metrics, by the names that monitoring knows them by."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from ingot.errors import UsageError
from ingot.runtime.statistics.figures import Gpu, Statistics, Unavailable
from ingot.runtime.statistics.metrics import Family, Kind, Sample, histogram_samples


def families(sessions: Sequence[Statistics]) -> list[Family]:
    """The metrics of the sessions of one process: those of each, and once those of the process.

    Args:
        sessions: Each needs a model's name of its own.

    Raises:
        UsageError: Two have the same model's name, or register one metric differently.
    """
    names = collections.Counter(session.model for session in sessions)
    if names and (most := names.most_common(1)[0])[1] > 1:
        raise UsageError(f"{most[1]} sessions have the model's name {most[0]}: one page takes one")
    merged: dict[str, Family] = {}
    for session in sessions:
        for family in (*_of_session(session), *_custom(session)):
            known = merged.get(family.name)
            if known is not None and known.kind != family.kind:
                raise UsageError(f"metric {family.name} is a {known.kind} and a {family.kind}")
            samples = family.samples if known is None else known.samples + family.samples
            merged[family.name] = dataclasses.replace(known or family, samples=samples)
    process = [] if not sessions else list(_of_process(sessions[-1]))
    return [family for family in (*merged.values(), *process) if family.samples]


def _of_session(session: Statistics) -> Iterator[Family]:
    model = (("model", session.model),)
    latency, durations = session.latency, session.durations
    yield _family("ingot_inferences", "counter", "Inferences finished.", model, session.inferences)
    yield _family("ingot_inference_errors", "counter", "Inferences failed.", model, session.errors)
    yield Family(
        "ingot_inference_duration_seconds",
        "histogram",
        "How long inferences took.",
        tuple(histogram_samples(model, durations.bounds, durations.counts, durations.seconds)),
        "seconds",
    )
    quantiles = {"0.5": latency.p50, "0.95": latency.p95, "0.99": latency.p99}
    yield Family(
        "ingot_inference_duration_quantile_seconds",
        "gauge",
        "Quantiles of the last minute's inferences.",
        tuple(
            Sample("", (*model, ("quantile", name)), value / 1e3)
            for name, value in quantiles.items()
            if value is not None
        ),
        "seconds",
    )
    yield _family(
        "ingot_inferences_per_second", "gauge", "Inferences per second in the last minute.",
        model, session.throughput,
    )  # fmt: skip
    if arena := session.memory.arena:
        yield _family(
            "ingot_arena_bytes", "gauge", "Memory held for intermediate tensors.", model, arena.now,
            "bytes",
        )  # fmt: skip
        yield _family(
            "ingot_arena_peak_bytes", "gauge", "The most memory held for intermediate tensors.",
            model, arena.peak, "bytes",
        )  # fmt: skip
    if phases := session.memory.phases:
        yield Family(
            "ingot_memory_phase_peak_bytes",
            "gauge",
            "Peak of memory in a phase.",
            tuple(
                Sample("", (*model, ("phase", name)), value)
                for name, value in dataclasses.asdict(phases).items()
                if value is not None
            ),
            "bytes",
        )
    if isinstance(session.energy_per_inference, float):
        yield _family(
            "ingot_energy_per_inference_joules", "gauge", "Energy per inference, last minute.",
            model, session.energy_per_inference, "joules",
        )  # fmt: skip


def _of_process(session: Statistics) -> Iterator[Family]:
    memory, cpu = session.memory, session.cpu
    yield _family(
        "ingot_resident_memory_bytes", "gauge", "Resident memory of the process.", (),
        memory.resident, "bytes",
    )  # fmt: skip
    yield _family(
        "ingot_resident_memory_peak_bytes", "gauge", "Peak of the process's resident memory.", (),
        memory.peak, "bytes",
    )  # fmt: skip
    yield _family(
        "ingot_cpu_seconds", "counter", "CPU time of the process.", (), cpu.seconds, "seconds"
    )
    yield _family(
        "ingot_cpu_busy", "gauge", "CPUs that the process kept busy in the last minute.", (),
        cpu.percent / 100,
    )  # fmt: skip
    yield _family(
        "ingot_cpu_usable", "gauge", "CPUs that the process may keep busy.", (), cpu.usable
    )
    yield from _of_gpus(session.gpus or ())
    if power := session.power:
        source = (("source", power.source),)
        yield _family(
            "ingot_power_watts", "gauge", f"Power of {power.scope}.", source, power.watts, "watts",
        )  # fmt: skip
        if power.joules is not None:
            yield _family(
                "ingot_energy_joules", "counter", f"Energy of {power.scope} since loading.", source,
                power.joules, "joules",
            )  # fmt: skip
    figures = {"gpu": session.gpus, "power": session.power}
    reasons = {k: f.reason for k, f in figures.items() if isinstance(f, Unavailable)}
    yield Family(
        "ingot_figure_unavailable",
        "gauge",
        "1 for each figure that this machine does not give, with the reason.",
        tuple(
            Sample("", (("figure", name), ("reason", reason)), 1)
            for name, reason in reasons.items()
        ),
    )


def _of_gpus(gpus: Iterable[Gpu]) -> Iterator[Family]:
    busy, memory, power = [], [], []
    for gpu in gpus:
        labels = (("gpu", str(gpu.index)), ("name", gpu.name))
        busy.append(Sample("", labels, gpu.percent / 100))
        if gpu.memory_used is not None:
            memory.append(Sample("", labels, gpu.memory_used))
        if gpu.watts is not None:
            power.append(Sample("", labels, gpu.watts))
    yield Family("ingot_gpu_busy", "gauge", "Part of the time a GPU computes.", tuple(busy))
    yield Family(
        "ingot_gpu_memory_bytes", "gauge", "Memory in use of a GPU.", tuple(memory), "bytes"
    )
    yield Family("ingot_gpu_power_watts", "gauge", "Power of a GPU.", tuple(power), "watts")


def _custom(session: Statistics) -> Iterator[Family]:
    """The application's own metrics, labelled like the session's."""
    model = ("model", session.model)
    for family in session.custom:
        samples = tuple(
            dataclasses.replace(sample, labels=(model, *sample.labels)) for sample in family.samples
        )
        yield dataclasses.replace(family, samples=samples)


def _family(
    name: str,
    kind: Kind,
    help: str,
    labels: tuple[tuple[str, str], ...],
    value: float,
    unit: str = "",
) -> Family:
    suffix = "_total" if kind == "counter" else ""
    return Family(name, kind, help, (Sample(suffix, labels, value),), unit)
