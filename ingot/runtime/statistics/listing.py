"""A session's figures as lines to read."""

from __future__ import annotations

from ingot.runtime.statistics.figures import Gpu, MemoryPhases, Statistics, Unavailable

_MEBIBYTE = 1 << 20


def listing(found: Statistics) -> str:
    """One line for each kind of figure; what is not available says why."""
    memory, cpu = found.memory, found.cpu
    resident = f"{_mebibytes(memory.resident)} resident, peak {_mebibytes(memory.peak)}"
    arena = (
        f"; arena {_mebibytes(memory.arena.now)}, peak {_mebibytes(memory.arena.peak)}"
        if memory.arena
        else ""
    )
    lines = {
        "inferences": f"{found.inferences}, and {found.errors} failed",
        "latency": _latency(found),
        "throughput": f"{found.throughput:.4g} per second",
        "memory": resident + arena,
        "peaks": _phases(memory.phases),
        "CPU": f"{cpu.percent:.0f} % (100 % is one CPU; {cpu.usable} usable)",
        "GPU": _gpus(found.gpus),
        "power": (
            f"{found.power.watts:.3g} W, {found.power.scope} ({found.power.source})"
            if found.power
            else str(found.power)
        ),
        "energy": (
            str(found.energy_per_inference)
            if isinstance(found.energy_per_inference, Unavailable)
            else f"{found.energy_per_inference:.3g} J per inference"
        ),
    }
    title = f"{found.model}, the last {found.window_seconds:.3g} s"
    return "\n".join([title, *(f"  {name:<12}{line}" for name, line in lines.items())])


def _latency(found: Statistics) -> str:
    latency = found.latency
    if latency.mean is None:
        return "no inference in this time"
    figures = {"mean": latency.mean, "p50": latency.p50, "p95": latency.p95, "p99": latency.p99}
    shown = [
        f"{name} {value:.4g}" if value is not None else f"{name} needs more inferences"
        for name, value in figures.items()
    ]
    return f"{', '.join(shown)} ms, of {latency.samples}"


def _gpus(gpus: tuple[Gpu, ...] | Unavailable) -> str:
    if isinstance(gpus, Unavailable):
        return str(gpus)
    return "; ".join(
        f"{gpu.name} {gpu.percent:.0f} %" + ("" if gpu.watts is None else f", {gpu.watts:.3g} W")
        for gpu in gpus
    )


def _mebibytes(size: int) -> str:
    return f"{size / _MEBIBYTE:.1f} MiB"


def _phases(phases: MemoryPhases | Unavailable) -> str:
    if isinstance(phases, Unavailable):
        return str(phases)
    known = {
        "loading": phases.load,
        "an inference's tensors": phases.inference,
        "those of the largest batch": phases.batch,
        "the build": phases.optimization,
    }
    return ", ".join(
        f"{what} {_mebibytes(size)}" for what, size in known.items() if size is not None
    )
