"""What a target is: it says what it can run, and lowers a graph to code and weights."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.arithmetic import Arithmetic
from ingot.runtime.manifest import RegionInfo, TargetInfo


class TargetOptions(pydantic.BaseModel):
    """Base of a target's options; a key that the target does not know is refused."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


@dataclasses.dataclass(frozen=True)
class Unsupported:
    """A node that a target cannot run, and why."""

    node: str
    operator: str
    reason: str


@dataclasses.dataclass
class Lowered:
    """What lowering gives: everything of an artifact that depends on the target.

    Attributes:
        code: The linked shared library; None where a region is the whole model.
        weights: The weights by name, in the order in which the code takes them after the inputs.
        info: What the code was made for.
        placement: Which nodes run where, for the manifest.
        stage_seconds: How long each stage of the lowering took.
        members: Further members of the artifact, by name.
        regions: What other things than the code run, by name.
        region_weights: Weights that only regions read, by name.
    """

    code: bytes | None
    weights: dict[str, npt.NDArray[np.generic]]
    info: TargetInfo
    placement: Mapping[str, Any]
    stage_seconds: Mapping[str, float]
    members: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    regions: Mapping[str, RegionInfo] = dataclasses.field(default_factory=dict)
    region_weights: Mapping[str, npt.NDArray[np.generic]] = dataclasses.field(default_factory=dict)


class Target(abc.ABC):
    """A kind of machine with its options.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``npu``.
        summary: One line for ``ingot targets``.
        options_type: The typed model of the target's options.
        positional: The option that may be given without its key, ``npu:ethos-u55-256``.
        batch: What a symbolic first dimension of inputs is bound to, where the code is for fixed
            sizes; None where it is not.
        may_be_left: Whether an artifact in which ONNX Runtime runs the whole model is what a user
            of this target may want.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    options_type: ClassVar[type[TargetOptions]]
    positional: ClassVar[str | None] = None
    batch: ClassVar[int | None] = None
    may_be_left: ClassVar[bool] = True

    @abc.abstractmethod
    def __init__(self, options: TargetOptions) -> None:
        """Takes validated options."""

    @property
    @abc.abstractmethod
    def spec(self) -> str:
        """The target as one string with its defaults filled in, ``cpu:mcpu=znver3``."""

    @property
    @abc.abstractmethod
    def info(self) -> TargetInfo:
        """What code is made for: the target, the architecture and the features that it needs."""

    @property
    def pass_options(self) -> Mapping[str, Mapping[str, Any]]:
        """Options that suit this target, by pass; what a recipe says itself goes first."""
        return {}

    @property
    def arithmetic(self) -> Arithmetic:
        """What this target computes in which type, for the passes that choose types."""
        return Arithmetic()

    def knows(self, domain: str, operator: str) -> bool:
        """Whether this target has a lowering for an operator, whatever its form.

        One that it lacks and that ONNX defines by simpler ones becomes these, before the passes.
        """
        del domain, operator
        return True

    @abc.abstractmethod
    def unsupported(self, model: ir.Model) -> Sequence[Unsupported]:
        """Returns the nodes of the main graph that nothing of this target compiles, in order.

        What is left out becomes regions that ONNX Runtime runs.
        """

    @abc.abstractmethod
    def lower(self, model: ir.Model) -> Lowered:
        """Lowers a graph to linked code.

        Raises:
            UnsupportedOperatorError: A node cannot be lowered; names it.
            CompilationError: Code cannot be generated, though each node has a lowering.
        """

    def try_lower(self, model: ir.Model, *, machine_code: bool) -> None:
        """Lowers a graph for the sake of the errors alone.

        Args:
            model: A small graph.
            machine_code: Whether to go on to machine code, which takes most of the time and seldom
                fails.

        Raises:
            ModelError: It cannot be lowered.
        """
        del machine_code
        self.lower(model)
