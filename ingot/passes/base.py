"""The pass contract: what a pass declares, and what it says after it ran.

An Ingot pass is an ``onnx_ir`` pass that also declares a name, typed options and the tolerance
under which its outputs are compared with the outputs before it. Any other ``onnx_ir`` pass can
stand in a pipeline too; the manager then takes the strictest tolerance that fits float rounding.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

import onnx_ir as ir
import pydantic

from ingot.arithmetic import Arithmetic


class PassOptions(pydantic.BaseModel):
    """Base of every pass's options; a key that the pass does not know is refused."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class ToleranceKind(enum.Enum):
    """How outputs before and after a pass may differ."""

    EXACT = "exact"
    FLOAT_ROUNDING = "float rounding"
    LOSSY = "lossy"


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The difference that a pass may make.

    A float tensor is within tolerance when ``max|after - before| <= atol + rtol * max|before|``
    (the scale of the whole tensor, so that a cancelled element does not decide). Tensors of other
    dtypes must be equal unless the kind is lossy. A lossy pass is held to the accuracy budget by
    its metric instead, and to finite outputs here.
    """

    kind: ToleranceKind
    rtol: float = 0.0
    atol: float = 0.0


EXACT = Tolerance(ToleranceKind.EXACT)
FLOAT_ROUNDING = Tolerance(ToleranceKind.FLOAT_ROUNDING, rtol=2e-5, atol=1e-6)
LOSSY = Tolerance(ToleranceKind.LOSSY)


@dataclasses.dataclass(frozen=True)
class Declined:
    """A place where a pass could have applied but did not.

    Attributes:
        node: Name of the node at the root of the place.
        reason: Why not, in words for a user ("the convolution's output has another consumer").
    """

    node: str
    reason: str


@dataclasses.dataclass
class PassOutcome(ir.passes.PassResult):
    """The result of an Ingot pass: the model, whether it changed, how often and why not.

    Attributes:
        applied: Number of places where the pass applied.
        declined: Places where it matched in part, with the reason why it was left.
        places: Names of the nodes at the roots of the places where it applied, of a pass that can
            leave places out.
        facts: What else the pass found, for the manifest and the report; JSON.
    """

    applied: int = 0
    declined: Sequence[Declined] = ()
    places: Sequence[str] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


OptionsT = TypeVar("OptionsT", bound=PassOptions)


class IngotPass(ir.passes.InPlacePass, Generic[OptionsT]):
    """Base of Ingot's passes. Subclasses implement ``call`` and set the class attributes.

    Attributes:
        name: ``group.name`` in kebab case, such as ``fusion.conv-batch-norm``.
        summary: One line for ``ingot passes``.
        options_type: The typed model of the pass's options.
        tolerance: What the manager compares the outputs under.
        by_name_only: Left out where a recipe names the pass's whole group: an alternative to
            others of the group.
        left_out: Nodes at the roots of places to leave as they are, set by the manager for a pass
            that tells its places.
        arithmetic: What the target computes in which type, set by whoever makes the passes of a
            recipe for a target.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    options_type: ClassVar[type[PassOptions]] = PassOptions
    tolerance: ClassVar[Tolerance] = FLOAT_ROUNDING
    by_name_only: ClassVar[bool] = False
    left_out: frozenset[str] = frozenset()
    arithmetic: Arithmetic = Arithmetic()

    def __init__(self, options: OptionsT | None = None) -> None:
        """Takes validated options, or the defaults of ``options_type``."""
        self.options: OptionsT = options or cast(OptionsT, self.options_type())


def pass_name(pass_: ir.passes.PassBase) -> str:
    """The name of any pass: an Ingot pass's own, else the name of its class."""
    return pass_.name if isinstance(pass_, IngotPass) else type(pass_).__name__


def pass_tolerance(pass_: ir.passes.PassBase) -> Tolerance:
    """What a pass's outputs are compared under; float rounding where the pass does not say."""
    return pass_.tolerance if isinstance(pass_, IngotPass) else FLOAT_ROUNDING
