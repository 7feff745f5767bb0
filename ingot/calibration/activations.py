"""A model's intermediate values on samples, a bounded part of them in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from ingot.calibration.fitting import check_sample
from ingot.calibration.samples import Sample
from ingot.errors import DataError, ModelError, UsageError
from ingot.reference.session import Array, Reference

MEMORY = 512 << 20
"""Bytes of intermediate values that are held at once."""


class Activations:
    """Runs samples through a model and hands out the asked tensors.

    Every tensor that a session exposes stays in memory until its run ends. When all of them
    together would take more than ``memory``, they are divided among several sessions, which share
    the weights, and a sample is run once by each: bounded memory for time. What they take is
    measured on the first sample (and again on one that is much larger) by a session that returns
    the tensors' shapes alone.

    Args:
        model: The model; not changed.
        tensors: Names of values of the main graph: of inputs, of what nodes compute, of outputs.
        threads: Threads within an operator; 0 for one per core.
        memory: Bytes of tensors to hold at once, by default ``MEMORY``; one tensor may be larger.

    Raises:
        UsageError: The model has no such tensor.
    """

    def __init__(
        self,
        model: ir.Model,
        tensors: Sequence[str],
        *,
        threads: int = 0,
        memory: int | None = None,
    ) -> None:
        self._inputs = list(model.graph.inputs)
        given = {str(value.name) for value in self._inputs}
        computed = {str(value.name) for node in model.graph for value in node.outputs}
        for name in tensors:
            if name not in given and name not in computed:
                raise UsageError(f"the model computes no tensor '{name}'")
        self._model = model
        self._given = [name for name in dict.fromkeys(tensors) if name in given]
        self._computed = [name for name in dict.fromkeys(tensors) if name not in given]
        self._threads = threads
        self._memory = MEMORY if memory is None else memory
        self._sessions: list[tuple[Reference, list[str]]] = []
        self._planned_elements = 0
        self._planned_bytes = 0

    def run(self, sample: Sample) -> Iterator[dict[str, Array]]:
        """Yields the asked tensors of one sample, a part at a time, each tensor once.

        Raises:
            DataError: The sample does not fit the model.
            ModelError: ONNX Runtime cannot load or run the model.
        """
        check_sample(sample, self._inputs)
        if self._given:
            yield {name: np.asarray(sample.inputs[name]) for name in self._given}
        if not self._computed:
            return
        self._plan(sample)
        for session, names in self._sessions:
            yield _run(session, sample, names)

    def _plan(self, sample: Sample) -> None:
        """Makes the sessions for the first sample, and anew for one that may need more memory."""
        elements = sum(array.size for array in sample.inputs.values())
        if self._sessions:
            # What a layer holds grows at most with the square of its input: attention scores.
            growth = max(1.0, elements / max(1, self._planned_elements)) ** 2
            if len(self._computed) == 1 or growth * self._planned_bytes <= self._memory:
                return
            if elements <= self._planned_elements:
                return
        sizes = self._sizes(sample)
        self._planned_elements, self._planned_bytes = elements, sum(sizes.values())
        groups = _groups(sizes, self._memory)
        if groups != [names for _, names in self._sessions]:
            self._sessions = []
            self._sessions = [(self._expose(names), names) for names in groups]

    def _expose(self, names: Sequence[str]) -> Reference:
        return Reference(self._model, threads=self._threads, optimize=True, expose=names)

    def _sizes(self, sample: Sample) -> dict[str, int]:
        """Bytes of each tensor for a sample."""
        model, shapes = _with_shapes(self._model, self._computed)
        session = Reference(model, threads=self._threads, optimize=True, expose=shapes)
        found = _run(session, sample, shapes)
        return {
            name: math.prod(found[shape].tolist()) * 8
            for name, shape in zip(self._computed, shapes, strict=True)
        }


def _run(session: Reference, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
    try:
        return session.run(sample.inputs, names)
    except ModelError as error:
        raise DataError(f"{sample.name} does not run: {error}") from error


def _with_shapes(model: ir.Model, tensors: Sequence[str]) -> tuple[ir.Model, list[str]]:
    """A copy of a model that computes the shapes of some tensors as well, and their names."""
    copy = model.clone()
    values = {str(value.name): value for node in copy.graph for value in node.outputs}
    names = []
    for tensor in tensors:
        node = ir.node("Shape", [values[tensor]])
        node.outputs[0].name = f"{tensor}:ingot_shape"
        copy.graph.append(node)
        names.append(str(node.outputs[0].name))
    return copy, names


def _groups(sizes: dict[str, int], memory: int) -> list[list[str]]:
    """Divides tensors, in order, so that each part takes no more than ``memory``."""
    groups: list[list[str]] = []
    taken = memory + 1
    for name, size in sizes.items():
        if taken + size > memory:
            groups.append([])
            taken = 0
        groups[-1].append(name)
        taken += size
    return groups
