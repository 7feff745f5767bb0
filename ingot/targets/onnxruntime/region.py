"""From a part of a graph to what an artifact holds of it for ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.detached_weights import detach_weights
from ingot.runtime.manifest import RegionInfo
from ingot.runtime.onnxruntime.region import StoredRegion, description_member, model_member
from ingot.targets.partition import GraphRegion
from ingot.targets.tensor_specs import tensor_specs

EXECUTOR = "onnxruntime"


@dataclasses.dataclass(frozen=True)
class RegionContent:
    """A region as the artifact holds it.

    Attributes:
        name: Its name.
        info: What the manifest says of it.
        model: Its serialized model, without its large weights.
        weights: Those weights by name.
    """

    name: str
    info: RegionInfo
    model: bytes
    weights: Mapping[str, npt.NDArray[Any]]

    def members(self, stored: Mapping[str, str]) -> dict[str, bytes]:
        """Returns the members that it adds to the artifact, by name.

        Args:
            stored: The name of each weight among the artifact's, by its name in the model.
        """
        return {
            model_member(self.name): self.model,
            description_member(self.name): StoredRegion(stored).to_json().encode(),
        }


def store_part(model: ir.Model, region: GraphRegion) -> RegionContent:
    """Stores a region of a graph around which compiled code stands.

    Args:
        model: The model; not changed.
        region: A region of its graph.
    """
    graph = ir.convenience.extract(model.graph, region.inputs, region.outputs)
    graph.name = region.name
    part = ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values()))
    names = [str(node.name) for node in region.nodes]
    return _store(part, region.name, names, region.inputs, region.outputs, in_code=True)


def store_model(model: ir.Model, name: str) -> RegionContent:
    """Stores a whole model as one region."""
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    nodes = [str(node.name) for node in model.graph]
    return _store(model, name, nodes, inputs, model.graph.outputs, in_code=False)


def _store(
    part: ir.Model,
    name: str,
    nodes: Sequence[str],
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    *,
    in_code: bool,
) -> RegionContent:
    message, weights = detach_weights(part)
    info = RegionInfo(
        EXECUTOR,
        tuple(nodes),
        tensor_specs(inputs, in_code=in_code),
        tensor_specs(outputs, in_code=in_code),
    )
    return RegionContent(name, info, message, weights)
