"""What the history keeps of a run: whose, where, of which commit, and what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ingot.report.schema import MachineFacts

SPEED = "speed_x"
"""Name of how many times as fast as the peer that it took turns with; a slow machine cancels."""

ACCURACY = "accuracy "
"""What the name of a metric's quantity begins with."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A figure of a run.

    Attributes:
        quantity: A name of ``QUANTITIES``, ``speed_x``, or ``accuracy`` and a metric's name.
        basis: What else two figures must share to be comparable: the data of a metric.
        unit: For a reader.
        higher_is_better: The direction.
        value: What was found.
        low: Lower end of its 95 % interval; the value itself where it was measured once.
        high: Upper end; None where so few samples do not bound it.
    """

    quantity: str
    basis: str
    unit: str
    higher_is_better: bool
    value: float
    low: float
    high: float | None

    @property
    def noisy(self) -> bool:
        """Whether it differs from run to run though nothing has changed."""
        return self.quantity != "size_mb" and not self.quantity.startswith(ACCURACY)


@dataclasses.dataclass(frozen=True)
class Run:
    """One variant of a model, measured once.

    Attributes:
        model: The model's name.
        recipe: The name of the recipe that Ingot compiled it with.
        target: What it was compiled for.
        setting: How it was measured: the command, threads, shapes, who it took turns with.
        machine: The kind of machine.
        commit: Of the user's project; None where it is not known.
        recorded: When, in UTC (ISO 8601).
        facts: What is kept beside for a reader: versions, the model's digest, the load before.
        figures: What was measured.
        number: The run's number in its history; None before it is recorded.
    """

    model: str
    recipe: str
    target: str
    setting: str
    machine: str
    commit: str | None
    recorded: str
    facts: Mapping[str, Any]
    figures: tuple[Found, ...]
    number: int | None = None


def kind_of_machine(facts: MachineFacts) -> str:
    """What times depend on and what a like machine shares: processor, cores, features."""
    cores = "?" if facts.physical_cores is None else str(facts.physical_cores)
    virtual = ", virtual" if facts.virtual else ""
    features = " ".join(facts.features) or "no vector extensions"
    return f"{facts.cpu}{virtual}, {cores} cores, {facts.logical_cpus} CPUs, {features}"
