"""What a model is checked on: seeded inputs at several sizes, and the user's own.

ONNX Runtime decides which sizes a model takes. The outputs that it computes are kept: they are what
every later stage is held to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ingot.compiler.comparison import compare_values
from ingot.compiler.inputs import Spread, random_inputs
from ingot.compiler.sizes import Dimension, OpenSizes, Sizes, show_sizes
from ingot.compiler.windows import Windows
from ingot.errors import DataError, ModelError, VerificationError
from ingot.reference.session import Array, Reference, Value

Inputs = Mapping[str, Value]
Outputs = dict[str, Value]

# Runs after which no further sizes are tried: to find some that fit, and to have others than these.
_MOST_ATTEMPTS = 64
_MOST_FURTHER = 24
# Of a model with a symbol for each of many inputs, not each can be tried alone.
_MOST_SAMPLES = 12
# A symbol that has been at so many sizes is not tried alone.
_ENOUGH_SIZES = 3
# Outputs of fewer numbers, over all samples, may be equal by chance.
_ENOUGH_NUMBERS = 8
_RANDOM = frozenset({
    "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run of the reference.

    Attributes:
        inputs: What the model was given.
        outputs: What it computed.
        sizes: The size of each symbol of its inputs; empty for given inputs.
        origin: Which of the given inputs it is; empty for random ones.
    """

    inputs: Inputs
    outputs: Outputs
    sizes: Sizes = dataclasses.field(default_factory=dict)
    origin: str = ""

    def __str__(self) -> str:
        where = f" at {show_sizes(self.sizes)}" if self.sizes else ""
        return self.origin or f"random inputs{where}"


@dataclasses.dataclass(frozen=True)
class ReferenceSamples:
    """The runs that a model is checked on; the first one is that of the passes.

    Attributes:
        samples: The runs, given ones first.
        refused: Sizes that ONNX Runtime does not run the model at.
        notes: What a user should know of them, a line each.
    """

    samples: tuple[Sample, ...]
    refused: tuple[Sizes, ...] = ()
    notes: tuple[str, ...] = ()


def reference_samples(
    model: ir.Model, *, given: Sequence[Inputs] = (), described: str = "", seed: int = 0
) -> ReferenceSamples:
    """Runs a model on seeded inputs of several sizes, behind those that are given.

    Args:
        model: The model as it was given, shapes bound.
        given: The user's own inputs, each complete.
        described: What they are, for messages.
        seed: Equal seeds give equal inputs.

    Raises:
        DataError: The model does not run on given inputs.
        ModelError: It runs on no inputs that are made here, and none are given.
        VerificationError: Its outputs tell nothing: they differ from run to run, or one of them is
            no number throughout.
    """
    runs = _Runs(model, seed)
    notes = []
    for index, inputs in enumerate(given):
        runs.add_given(inputs, f"example {index} of {described or 'the given inputs'}")
    try:
        notes += runs.add_random()
    except ModelError as error:
        if not given:
            raise
        notes.append(f"checked on the given inputs alone: {error}")
    _require_determinism(runs)
    runs.look_for_numbers()
    for name in runs.blank():
        raise VerificationError(
            f"output '{name}' has no finite number on any input, so that nothing can be compared: "
            "give real inputs (--verify-data)"
        )
    notes += [
        f"output '{name}' holds next to nothing to compare ({found} throughout): give real inputs "
        "(--verify-data)"
        for name, found in runs.flat().items()
    ]
    return ReferenceSamples(tuple(runs.samples), tuple(runs.refused), tuple(notes))


def _require_determinism(runs: _Runs) -> None:
    drawing = [n for n in runs.model.graph.all_nodes() if n.domain == "" and n.op_type in _RANDOM]
    if not drawing:
        return
    sample = runs.samples[0]
    again = runs.reference.run(sample.inputs)
    for name, value in sample.outputs.items():
        if any(found.max_abs_error for found in compare_values(name, value, again[name])):
            first = drawing[0]
            raise VerificationError(
                f"output '{name}' differs from run to run, as node '{first.name}' "
                f"({first.op_type}) draws random numbers, so that nothing can be compared"
            )


def depending_values(graph: ir.Graph) -> set[ir.Value]:
    """Values that depend on what a graph's inputs hold, and not on their shapes alone."""
    reached = set(graph.inputs)
    for node in graph:
        if node.op_type in ("Shape", "Size") and node.domain == "":
            continue
        read = set(node.inputs)
        for inner in _subgraphs(node):
            read.update(v for n in inner.all_nodes() for v in n.inputs)
            read.update(inner.outputs)
        if not reached.isdisjoint(read):
            reached.update(node.outputs)
    return reached


def _subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _is_empty(value: Value) -> bool:
    return isinstance(value, np.ndarray) and not value.size


def _closed(dims: Sequence[Dimension]) -> bool:
    return all(isinstance(dim, int) for dim in dims)


def guarding_samples(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The first sample, and the first of other sizes: enough to guard what changes the graph.

    What they miss, the check of the compiled code finds, which is made on all.
    """
    others = [sample for sample in samples[1:] if sample.sizes != samples[0].sizes]
    return (*samples[:1], *others[:1])


class _Runs:
    """The samples while they are made."""

    def __init__(self, model: ir.Model, seed: int) -> None:
        self.samples: list[Sample] = []
        self.refused: list[Sizes] = []
        self.model = model
        self.reference = Reference(model)
        self._open = OpenSizes.of(model)
        self._windows = Windows(model)
        self._seed = seed
        self._base: Sizes = {}
        computed = depending_values(model.graph)
        self._computed = {value.name for value in model.graph.outputs if value in computed}

    def add_given(self, inputs: Inputs, origin: str) -> None:
        try:
            outputs = self.reference.run(inputs)
        except (ModelError, ValueError) as error:
            raise DataError(f"{origin} does not fit the model: {error}") from error
        self.samples.append(Sample(inputs, outputs, origin=origin))

    def add_random(self) -> list[str]:
        """Adds a run on first sizes that fit, and runs on other sizes and numbers."""
        first = self._first()
        self._base = first.sizes
        self.samples.append(first)
        notes = []
        if grown := {s: n for s, n in first.sizes.items() if n > self._open.first[s]}:
            notes.append(
                f"checked from {show_sizes(grown)} on: ONNX Runtime does not run the model at "
                f"{show_sizes({symbol: self._open.first[symbol] for symbol in grown})}"
            )
        if not first.sizes:
            self.samples.append(self._run(first.sizes, len(self.samples)))
            return notes
        return notes + self._add_further()

    def _first(self) -> Sample:
        errors = []
        tried: list[Sizes] = []
        empty: Sample | None = None
        for sizes in self._open.attempts():
            if sizes in tried:
                continue
            tried.append(sizes)
            try:
                sample = self._run(sizes, 0)
            except ModelError as error:
                errors.append(error)
            else:
                if not all(_is_empty(value) for value in sample.outputs.values()):
                    return sample
                empty = empty or sample
            if len(tried) == _MOST_ATTEMPTS:
                break
        if empty is not None:
            return empty
        advice = ""
        if self._open.first:
            (name, dims), *_ = ((n, d) for n, d in self._open.shapes.items() if not _closed(d))
            shown = "x".join(str(dim) if isinstance(dim, int) else "N" for dim in dims)
            advice = (
                f"; sizes from {show_sizes(tried[0])} to {show_sizes(tried[-1])} were tried: give "
                f"those it takes with --shape {name}={shown}, a number for each N"
            )
        raise ModelError(f"{errors[0]}{advice}") from errors[0]

    def _add_further(self) -> list[str]:
        """Adds runs on other sizes; notes symbols that there is but one size of."""
        left = _MOST_FURTHER
        for candidates in self._open.further(self._base):
            for sizes in candidates:
                left -= 1
                if self._try(sizes):
                    break
        for symbol in self._base:
            for sizes in self._open.alone(symbol, self._base):
                ran = {sample.sizes[symbol] for sample in self.samples if sample.sizes}
                enough = len(ran) >= _ENOUGH_SIZES or len(self.samples) >= _MOST_SAMPLES
                if enough or left <= 0:
                    break
                if sizes[symbol] not in ran:
                    left -= 1
                    self._try(sizes)
        return [
            f"dimension {symbol} could be checked at {size} only: ONNX Runtime does not run the "
            "model at others; bind it with --shape if they do not occur"
            for symbol, size in self._base.items()
            if {sample.sizes[symbol] for sample in self.samples if sample.sizes} == {size}
        ]

    def _try(self, sizes: Sizes) -> bool:
        """Adds a run on these sizes, if ONNX Runtime completes it as ONNX defines it.

        Without elements in the outputs nothing could be compared.
        """
        if any(sample.sizes == sizes for sample in self.samples):
            return True
        try:
            sample = self._run(sizes, len(self.samples))
        except ModelError:
            self.refused.append(sizes)
            return False
        if any(map(_is_empty, sample.outputs.values())):
            return False
        smaller = any(size < self._base[symbol] for symbol, size in sizes.items())
        if smaller and not self._windows.fit(sample.inputs):
            self.refused.append(sizes)
            return False
        self.samples.append(sample)
        return True

    def _run(self, sizes: Sizes, count: int, spread: Spread = Spread.NORMAL) -> Sample:
        inputs = random_inputs(
            self.model, seed=self._seed + count, sizes=sizes, spread=spread, masked=count > 0
        )
        return Sample(inputs, self.reference.run(inputs), sizes)

    def look_for_numbers(self) -> None:
        """Adds runs on other distributions while an output tells nothing on these."""
        if not any(sample.origin == "" for sample in self.samples):
            return
        for spread in Spread:
            lacking = len(self.blank()) + len(self.flat())
            if not lacking:
                return
            try:
                self.samples.append(self._run(self._base, len(self.samples), spread))
            except ModelError:
                continue
            if len(self.blank()) + len(self.flat()) >= lacking:
                self.samples.pop()

    def blank(self) -> list[str]:
        """Outputs of floats that are finite nowhere, unless an input has no elements."""
        if any(_is_empty(value) for sample in self.samples for value in sample.inputs.values()):
            return []  # the largest of no elements is an infinity
        return [
            name
            for name, arrays in self._floats().items()
            if arrays and not any(np.isfinite(array).any() for array in arrays)
        ]

    def flat(self) -> dict[str, str]:
        """Outputs of floats that hold at most two numbers, and these."""
        found = {}
        for name, arrays in self._floats().items():
            if name not in self._computed:
                continue
            values = np.unique(np.concatenate([array.reshape(-1)[:4096] for array in arrays]))
            count = sum(array.size for array in arrays)
            if count >= _ENOUGH_NUMBERS and len(values) <= 2:
                found[name] = " and ".join(f"{value:g}" for value in values.tolist())
        return found

    def _floats(self) -> dict[str, list[Array]]:
        """Arrays of floats with elements, by output."""
        found: dict[str, list[Array]] = {}
        for sample in self.samples:
            for name, value in sample.outputs.items():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
                    found.setdefault(name, []).append(value)
        return found
