"""Structured pruning: whole channels go, and the graph is a smaller one of the same form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.passes.base import PassOptions, PassOutcome
from ingot.passes.pruning.compensation import compensate
from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.harm import Curve, order_by_harm
from ingot.passes.pruning.node_rules import couple_graph
from ingot.passes.pruning.overview import held_layers
from ingot.passes.pruning.removal import remove_channels
from ingot.passes.pruning.selection import Choice, Group, choose_channels, find_groups, weights_of
from ingot.passes.pruning.sensitivity import OutputError
from ingot.passes.pruning.work import Work, multiply_adds, parameters
from ingot.passes.quantization.calibrated import CalibratedPass
from ingot.passes.quantization.weight_rounding import batches

Amount = Literal["parameters", "multiply-adds"]

# Of all batches of samples, every such is for measuring alone.
_HELD_OUT = 3


class PruneChannelsOptions(PassOptions):
    """Options of ``pruning.channels``."""

    ratio: float = pydantic.Field(default=0.1, gt=0, lt=1, description="the part that is to go")
    of: Amount = pydantic.Field(default="parameters", description="what a part is to go of")
    saves: Amount = pydantic.Field(
        default="parameters", description="what harm is weighed against where groups compete"
    )
    multiple: int = pydantic.Field(
        default=8, gt=0, description="what the number of channels left is a multiple of"
    )
    largest_share: float = pydantic.Field(
        default=0.5, gt=0, lt=1, description="largest part of a group of channels that goes"
    )
    importance: Literal["auto", "norm", "harm"] = pydantic.Field(
        default="auto",
        description="norm of the weights, or harm to the layers that read, which needs data",
    )
    compensate: bool = pydantic.Field(
        default=True, description="solve for the weights that are left, where there is data"
    )
    samples: int = pydantic.Field(
        default=256, gt=0, description="most samples to learn from; images are fewer"
    )


class PruneChannels(CalibratedPass[PruneChannelsOptions]):
    """Removes the channels that do the least harm, and solves for the weights that are left.

    What is removed equals zeros that the layers read in its place. Without samples, channels go by
    the norm of their weights, and the others stay as they are.
    """

    name: ClassVar[str] = "pruning.channels"
    summary: ClassVar[str] = "Remove channels that do little harm."
    options_type: ClassVar[type[PassOptions]] = PruneChannelsOptions
    needs_data: ClassVar[bool] = False

    def call(self, model: ir.Model) -> PassOutcome:
        """Prunes a model in place."""
        options = self.options
        if options.importance == "harm" and not self.has_data:
            _ = self.calibration  # says how to give it
        couplings = couple_graph(model.graph)
        groups = find_groups(model.graph, couplings)
        samples = batches(model, self.calibration, options.samples) if self.has_data else []
        curves: Sequence[Curve] = ()
        if samples and options.importance != "norm":
            curves = self._measure(model, couplings, groups, samples)
        weights = weights_of(model.graph)
        choice = choose_channels(
            groups,
            _work(options.of, weights),
            _work(options.saves, weights),
            options.ratio,
            options.multiple,
            options.largest_share,
        )
        declined = held_layers(model.graph, couplings)
        facts = {
            "of": options.of,
            "before": choice.before,
            "after": choice.after,
            "groups": _rows(groups, choice, curves),
        }
        if choice.channels:
            original = model.clone()
            kept = remove_channels(model, couplings, choice.channels)
            if samples and options.compensate:
                facts["layers_solved_for"] = compensate(
                    original, model, kept, samples, self.calibration.progress
                )
        return PassOutcome(
            model=model,
            modified=bool(choice.channels),
            applied=len(choice.channels),
            declined=declined,
            facts=facts,
        )

    def _measure(
        self,
        model: ir.Model,
        couplings: Couplings,
        groups: list[Group],
        samples: Sequence[Mapping[str, npt.NDArray[Any]]],
    ) -> list[Curve]:
        """Orders channels by harm; what weights are solved on and measured on is not the same."""
        held = samples[::_HELD_OUT]
        learned = [one for index, one in enumerate(samples) if index % _HELD_OUT] or samples
        return order_by_harm(
            model,
            couplings,
            groups,
            learned,
            largest_share=self.options.largest_share,
            multiple=self.options.multiple,
            measure=OutputError(model, held),
            progress=self.calibration.progress,
        )


def _work(amount: Amount, weights: Sequence[ir.Value]) -> Work:
    return parameters(weights) if amount == "parameters" else multiply_adds(weights)


def _rows(groups: Sequence[Group], choice: Choice, curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """A row for each group: its tensors, its channels, how many went, and what was measured."""
    rows = []
    for index, (group, count) in enumerate(zip(groups, choice.taken, strict=True)):
        row: dict[str, Any] = {
            "tensors": sorted({str(value.name) for value, _ in group.axes}),
            "channels": len(group.channels),
            "removed": count,
            "importance": float(np.sum(group.importance[:count])),
        }
        if curves:
            row["measured"] = dataclasses.asdict(curves[index])
        rows.append(row)
    return rows
