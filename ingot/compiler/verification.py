"""The numeric check of each pass: ONNX Runtime before and after, on the same inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from ingot.compiler.comparison import compare_tensors, compare_values, rounding_unit
from ingot.compiler.reference_samples import Inputs, Outputs, Sample, reference_samples
from ingot.errors import VerificationError
from ingot.passes.base import Tolerance, ToleranceKind
from ingot.passes.record import CheckResult, PassCheckError, TensorDifference
from ingot.reference.session import Array, Reference

# Intermediate tensors fetched per run while the first that differs is searched for: all at once
# would hold every activation of the model in memory, twice.
_TENSORS_PER_RUN = 64


class ReferenceCheck:
    """Compares models by their outputs on reference inputs; a ``PassCheck`` for the manager.

    The outputs of the last model are kept, so that in a pipeline each model runs once.

    Args:
        inputs: Reference inputs, one mapping of input name to array per run.
        threads: Threads within an operator; 0 for one per core.
    """

    def __init__(self, inputs: Sequence[Inputs], *, threads: int = 0) -> None:
        if not inputs:
            raise VerificationError("no reference inputs were given; give at least one")
        self._inputs = tuple(inputs)
        self._threads = threads
        self._last: tuple[ir.Model, list[Outputs]] | None = None

    @classmethod
    def for_model(
        cls, model: ir.Model, *, given: Sequence[Inputs] = (), seed: int = 0, threads: int = 0
    ) -> ReferenceCheck:
        """A check on seeded inputs of several sizes, after those that are given.

        Args:
            model: The model; see :func:`~ingot.compiler.reference_samples.reference_samples`.
            given: Real inputs, each complete.
            seed: Equal seeds give equal inputs.
            threads: Threads within an operator; 0 for one per core.
        """
        return cls.on(model, reference_samples(model, given=given, seed=seed).samples, threads)

    @classmethod
    def on(cls, model: ir.Model, samples: Sequence[Sample], threads: int = 0) -> ReferenceCheck:
        """A check on samples whose outputs are those of ``model``, which is not run again."""
        check = cls([sample.inputs for sample in samples], threads=threads)
        check._last = (model, [sample.outputs for sample in samples])
        return check

    def compare(
        self, before: ir.Model, after: ir.Model, tolerance: Tolerance, *, pass_name: str
    ) -> CheckResult:
        """See :meth:`ingot.passes.record.PassCheck.compare`.

        Raises:
            PassCheckError: An output is out of tolerance.
            ModelError: ONNX Runtime cannot load or run one of the models.
        """
        expected = self._outputs(before)
        actual = self._outputs(after)
        unit = rounding_unit(before)
        differences = [
            difference
            for reference, output in zip(expected, actual, strict=True)
            for name in reference
            for difference in compare_values(name, reference[name], output[name], unit)
        ]
        if not all(difference.within(tolerance) for difference in differences):
            self._last = None
            first = self.first_difference(before, after, tolerance)
            raise PassCheckError(pass_name, first, describe(tolerance))
        return summarize(differences, tolerance)

    def first_difference(
        self, before: ir.Model, after: ir.Model, tolerance: Tolerance
    ) -> TensorDifference:
        """The first tensor out of tolerance, in the order of execution of ``after``.

        Compared are the values of the main graph that have one name in both models, and the
        outputs. Inputs that show no difference are passed over.

        Raises:
            VerificationError: No tensor is out of tolerance.
        """
        names = _common_tensors(before, after)
        old = Reference(before, threads=self._threads, expose=names)
        new = Reference(after, threads=self._threads, expose=names)
        unit = rounding_unit(before)
        for inputs in self._inputs:
            for name, left, right in _paired_values(old, new, inputs, names):
                difference = compare_tensors(name, left, right, unit)
                if not difference.within(tolerance):
                    return difference
        raise VerificationError("no tensor of the two models is out of tolerance")

    def _outputs(self, model: ir.Model) -> list[Outputs]:
        if self._last is not None and self._last[0] is model:
            return self._last[1]
        reference = Reference(model, threads=self._threads)
        outputs = [reference.run(inputs) for inputs in self._inputs]
        self._last = (model, outputs)
        return outputs


def summarize(differences: Sequence[TensorDifference], tolerance: Tolerance) -> CheckResult:
    """The worst of several differences as a record."""
    worst = max(differences, key=lambda difference: difference.max_rel_error)
    return CheckResult(
        tolerance=tolerance.kind,
        max_abs_error=max(difference.max_abs_error for difference in differences),
        max_rel_error=worst.max_rel_error,
        worst_tensor=worst.tensor if worst.max_abs_error else None,
    )


def describe(tolerance: Tolerance) -> str:
    """A tolerance in words for a message."""
    if tolerance.kind is ToleranceKind.EXACT:
        return "no difference"
    if tolerance.kind is ToleranceKind.LOSSY:
        return "any difference but infinities and NaN"
    return f"{tolerance.rtol:g} of the tensor's largest magnitude, and {tolerance.atol:g}"


def _common_tensors(before: ir.Model, after: ir.Model) -> list[str]:
    """Names of tensors that both main graphs compute, in the order of ``after``."""
    known = {value.name for node in before.graph for value in node.outputs}
    outputs = {value.name for value in after.graph.outputs}
    return [
        str(value.name)
        for node in after.graph
        for value in node.outputs
        if value.name in outputs or (value.name and value.name in known and _is_tensor(value))
    ]


def _is_tensor(value: ir.Value) -> bool:
    # ONNX Runtime infers a type that is not written down; a sequence would be written down.
    return value.type is None or isinstance(value.type, ir.TensorType)


def _paired_values(
    old: Reference, new: Reference, inputs: Inputs, names: Sequence[str]
) -> Iterator[tuple[str, Array, Array]]:
    for start in range(0, len(names), _TENSORS_PER_RUN):
        chunk = names[start : start + _TENSORS_PER_RUN]
        left, right = old.run(inputs, chunk), new.run(inputs, chunk)
        for name in chunk:
            yield name, left[name], right[name]
