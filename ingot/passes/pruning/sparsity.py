"""Unstructured and N:M pruning: zeros in weights, and the graph as it was."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.onnx_graph.edits import Names
from ingot.passes.base import Declined, PassOptions, PassOutcome
from ingot.passes.pruning.layer_weights import has_own_weights, replace_weights, shift_bias
from ingot.passes.pruning.sparse_columns import Pattern, Share, sparse_columns
from ingot.passes.quantization.calibrated import CalibratedPass
from ingot.passes.quantization.linear import LinearLayer, linear_layers
from ingot.passes.quantization.moments import Moments, moments
from ingot.passes.quantization.rounding import without_chance
from ingot.passes.quantization.walk import Walk
from ingot.passes.quantization.weight_rounding import batches

Array = npt.NDArray[Any]
Wide = npt.NDArray[np.float64]


class SparsifyOptions(PassOptions):
    """Options of ``pruning.sparsity``."""

    pattern: str | None = pydantic.Field(
        default="2:4",
        pattern=r"^[1-9][0-9]*:[1-9][0-9]*$",
        description="N:M, so many of so many input channels stay; none for zeros anywhere",
    )
    ratio: float = pydantic.Field(
        default=0.5, gt=0, lt=1, description="part of the weights that becomes zero, anywhere"
    )
    samples: int = pydantic.Field(
        default=256, gt=0, description="most samples to learn from; images are fewer"
    )
    damping: float = pydantic.Field(
        default=0.01, gt=0, description="part of the mean diagonal added to the second moments"
    )

    @pydantic.field_validator("pattern")
    @classmethod
    def _some_stay_and_some_go(cls, value: str | None) -> str | None:
        if value is not None:
            stay, length = map(int, value.split(":"))
            if stay >= length:
                raise ValueError("N of N:M is below M")
        return value


class Sparsify(CalibratedPass[SparsifyOptions]):
    """Makes weights zero in a pattern that hardware skips, and lets the others make up for it.

    Layers are visited in order, each with the input that the layers before it, as they now are,
    give. Grouped convolutions, and layers whose input channels are no multiple of M, stay.
    """

    name: ClassVar[str] = "pruning.sparsity"
    summary: ClassVar[str] = "Make weights zero, 2 of 4 along input channels or anywhere."
    options_type: ClassVar[type[PassOptions]] = SparsifyOptions
    by_name_only: ClassVar[bool] = True

    def call(self, model: ir.Model) -> PassOutcome:
        """Makes weights zero in place."""
        pattern = self._pattern()
        names = Names(model)
        walk = Walk(model, batches(model, self.calibration, self.options.samples))
        layers = list(linear_layers(model.graph))
        declined: list[Declined] = []
        rows: list[dict[str, Any]] = []
        for number, layer in enumerate(layers, start=1):
            self.calibration.progress("making weights zero", number, len(layers))
            reason = _why_not(layer, pattern)
            if reason is not None:
                declined.append(Declined(str(layer.node.name), reason))
                continue
            found = moments(layer, walk.before(layer.node, layer.activation))
            error = _sparsify(layer, pattern, found, self.options.damping, names)
            rows.append({"layer": str(layer.node.name), "relative_error": error})
        facts = {"pattern": self.options.pattern, "layers": rows}
        return PassOutcome(model, bool(rows), len(rows), declined, facts=facts)

    def _pattern(self) -> Pattern | Share:
        if self.options.pattern is None:
            return Share(self.options.ratio)
        stay, length = map(int, self.options.pattern.split(":"))
        return Pattern(length - stay, length)


def _why_not(layer: LinearLayer, pattern: Pattern | Share) -> str | None:
    if layer.groups > 1:
        return "it is a grouped convolution: each of its channels has few weights"
    if not has_own_weights(layer):
        return "something else reads its weights or its bias"
    channels = layer.array().shape[1 - layer.channel_axis]
    if isinstance(pattern, Pattern) and channels % pattern.length:
        return f"its {channels} input channels are no multiple of {pattern.length}"
    return None


def _sparsify(
    layer: LinearLayer, pattern: Pattern | Share, found: Moments, damping: float, names: Names
) -> float:
    """Makes weights of a layer zero; returns the part of its output's variance that is lost."""
    weights = layer.to_rows(layer.array()).astype(np.float64)
    order = _channels_last(layer)
    covariance = found.covariance[0]
    hessian = without_chance(found.covariance, found.reliable)[0][np.ix_(order, order)]
    sparse = np.empty_like(weights)
    sparse[:, order] = sparse_columns(weights[:, order], hessian, pattern, damping)
    rest = weights - sparse
    replace_weights(layer, layer.from_rows(sparse))
    if layer.node.op_type in ("Conv", "Gemm"):
        shift_bias(layer, rest @ found.mean[0], names)
    variance = float(np.sum((weights @ covariance) * weights))
    return float(np.sum((rest @ covariance) * rest)) / variance if variance > 0 else 0.0


def _channels_last(layer: LinearLayer) -> npt.NDArray[np.int64]:
    """The order of a row's weights in which those of one place in the window are consecutive."""
    shape = layer.array().shape
    if layer.node.op_type != "Conv":
        return np.arange(shape[1 - layer.channel_axis])
    places = np.arange(int(np.prod(shape[1:]))).reshape(shape[1], -1)
    return places.T.reshape(-1)
