"""What compiled code says of itself, held against the manifest that came with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ingot.errors import ArtifactError
from ingot.runtime.manifest import Manifest, TensorSpec
from ingot.runtime.narrow_types import HELD_AS

# What a region without a tensor for compiled code returns to it: it has to be called all the same.
MARK = ("int8", (1,))


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor that code takes or gives.

    Attributes:
        name: Its name in the graph that was compiled.
        dtype: What code holds it in.
        shape: Its dimensions; None where one is open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def fits(self, spec: TensorSpec, *, exactly: bool) -> bool:
        """Whether what a manifest says of a tensor can be meant by this one.

        Args:
            spec: What the manifest says.
            exactly: Whether the same sizes are open; else either may know more of them.
        """
        known = (self.name, self.dtype, len(self.shape))
        if known != (spec.name, HELD_AS.get(spec.dtype, spec.dtype), len(spec.shape)):
            return False
        pairs = [
            (size, None if isinstance(stated, str) else stated)
            for size, stated in zip(self.shape, spec.shape, strict=True)
        ]
        return all(
            size == stated or (not exactly and None in (size, stated)) for size, stated in pairs
        )

    @property
    def is_mark(self) -> bool:
        """Whether it is of the kind that a region without another result for code returns."""
        return (self.dtype, self.shape) == MARK

    def __str__(self) -> str:
        """Returns the tensor as ``image: float32[?, 3, 224, 224]``."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype}[{sizes}]"


@dataclasses.dataclass(frozen=True)
class Interface:
    """What code was compiled for.

    Attributes:
        inputs: The inputs that it takes, in order.
        outputs: What it returns, in order; behind the model's outputs there may be marks, which
            say that a region was called.
        weights: The weights that it takes after the inputs, in order.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]

    def check(self, manifest: Manifest) -> None:
        """Holds a manifest against the code.

        Raises:
            ArtifactError: The code takes or gives something else than the manifest says.
        """
        outputs = _held(manifest.outputs)
        marks = [tensor for tensor in self.outputs[len(outputs) :] if tensor.is_mark]
        _check("input", self.inputs, _held(manifest.inputs), exactly=True)
        _check("output", self.outputs[: len(self.outputs) - len(marks)], outputs, exactly=False)
        weights = [
            TensorSpec(name, manifest.weights[name].dtype, manifest.weights[name].shape)
            for name in manifest.parameters
        ]
        _check("weight", self.weights, weights, exactly=True)


def _held(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    return [spec for spec in specs if spec.in_code]


def _check(
    kind: str, known: Sequence[Tensor], stated: Sequence[TensorSpec], *, exactly: bool
) -> None:
    if len(stated) != len(known):
        raise ArtifactError(
            f"the artifact is damaged: its code has {len(known)} {kind}s, its manifest "
            f"{len(stated)}; compile it again"
        )
    for tensor, spec in zip(known, stated, strict=True):
        if not tensor.fits(spec, exactly=exactly):
            raise ArtifactError(
                f"the artifact is damaged: its code has the {kind} {tensor}, its manifest {spec}; "
                "compile it again"
            )
