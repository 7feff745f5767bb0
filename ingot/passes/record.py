"""What the manager writes down about each pass, and the check that it holds a pass to.

The records are pydantic models: they go into the artifact's manifest and into reports as JSON.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
import pydantic

from ingot.errors import VerificationError
from ingot.passes.base import Tolerance, ToleranceKind

FLOAT32_UNIT = float(np.finfo(np.float32).eps)
# Of float16 or bfloat16, in a row: what two right implementations may differ by.
_ROUNDINGS = 8


class _Record(pydantic.BaseModel):
    # JSON has no infinity: an unbounded relative error is written as the string "Infinity".
    model_config = pydantic.ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class CheckResult(_Record):
    """The outcome of one numeric check, over all outputs and all reference inputs.

    Attributes:
        tolerance: Under which kind of tolerance the outputs were compared.
        max_abs_error: Largest absolute difference of an element.
        max_rel_error: That difference divided by the largest magnitude in its tensor.
        worst_tensor: The output with the largest relative error; None when all are equal.
    """

    tolerance: ToleranceKind
    max_abs_error: float
    max_rel_error: float
    worst_tensor: str | None = None


class DeclinedRecord(_Record):
    """A place where a pass could have applied but did not, and why."""

    node: str
    reason: str


class PassRecord(_Record):
    """What one pass did.

    Attributes:
        name: The pass's name.
        seconds: Time of the pass itself.
        check_seconds: Time of the numeric check after it; 0 when nothing changed or none was asked.
        applied: Number of places where it applied, as the pass counts them.
        changed: Whether the graph differs from the one before.
        nodes_before: Number of nodes before, subgraphs and functions included.
        nodes_after: The same, after.
        removed: Names of the nodes that are gone.
        added: Names of the nodes that are new.
        changed_nodes: Names of the nodes whose operator, attributes, inputs, outputs or constant
            inputs changed.
        op_delta: Change in the number of nodes by operator (``domain::type`` outside of ONNX's).
        initializer_bytes_before: Bytes of all initializers before.
        initializer_bytes_after: The same, after.
        declined: Places where it matched in part, with the reason why it was left.
        facts: What else the pass found.
        check: The outcome of the numeric check, when one was made.
    """

    name: str
    seconds: float
    check_seconds: float = 0.0
    applied: int
    changed: bool
    nodes_before: int
    nodes_after: int
    removed: list[str]
    added: list[str]
    changed_nodes: list[str]
    op_delta: dict[str, int]
    initializer_bytes_before: int
    initializer_bytes_after: int
    declined: list[DeclinedRecord]
    facts: dict[str, Any] = {}
    check: CheckResult | None = None


@dataclasses.dataclass(frozen=True)
class TensorDifference:
    """How a tensor differs between two models.

    Attributes:
        tensor: The value's name in both graphs.
        max_abs_error: Largest absolute difference; infinite where only one side is finite.
        max_rel_error: The same divided by ``scale``.
        scale: Largest finite magnitude in the tensor before.
        is_float: Whether its elements are floating-point or complex numbers.
        loses_finite: Whether an element that was finite is so no more.
        detail: A difference that is not numeric ("shape [2, 3] became [3, 2]"), or empty.
        unit: Relative size of a rounding in the coarsest type that the model computes in.
    """

    tensor: str
    max_abs_error: float
    max_rel_error: float
    scale: float = 0.0
    is_float: bool = False
    loses_finite: bool = False
    detail: str = ""
    unit: float = 0.0

    def __str__(self) -> str:
        if self.detail:
            return f"tensor '{self.tensor}': {self.detail}"
        return (
            f"tensor '{self.tensor}' differs by {self.max_abs_error:.3g} absolute, "
            f"{self.max_rel_error:.3g} relative"
        )

    def within(self, tolerance: Tolerance) -> bool:
        """Whether a tolerance allows the difference; see :class:`~ingot.passes.base.Tolerance`."""
        if self.detail:
            return False
        if tolerance.kind is ToleranceKind.LOSSY:
            return not self.loses_finite
        if tolerance.kind is ToleranceKind.EXACT or not self.is_float:
            return self.max_abs_error == 0.0
        return self.max_abs_error <= tolerance.atol + self.coarsened(tolerance.rtol) * self.scale

    def coarsened(self, rtol: float) -> float:
        """A relative tolerance that is meant for float32, or some roundings of a coarser type."""
        return max(rtol, _ROUNDINGS * self.unit) if self.unit > FLOAT32_UNIT else rtol


class PassCheckError(VerificationError):
    """A pass changed the outputs by more than its tolerance allows.

    Attributes:
        pass_name: The pass that is to blame.
        first: The first tensor, in the order of execution, that exists on both sides and differs.
    """

    def __init__(self, pass_name: str, first: TensorDifference, allowed: str) -> None:
        super().__init__(
            f"pass '{pass_name}' changed the results: {first} (first of those that differ; "
            f"allowed: {allowed}); leave the pass out, or run 'ingot bisect' on the model"
        )
        self.pass_name = pass_name
        self.first = first


class PassCheck(Protocol):
    """Compares a model before and after a pass on reference inputs."""

    def compare(
        self, before: ir.Model, after: ir.Model, tolerance: Tolerance, *, pass_name: str
    ) -> CheckResult:
        """Runs both models on the same inputs and compares their outputs.

        Neither model is changed, nor may it be changed by the caller afterwards; ``after`` is
        ``before`` of the next call, so that an implementation can keep the outputs.

        Raises:
            PassCheckError: When an output is out of tolerance; names the pass, the first tensor
                that differs and by how much.
        """
        ...
