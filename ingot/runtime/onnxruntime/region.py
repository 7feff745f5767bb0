"""What an artifact holds of a region that ONNX Runtime runs.

The members of region ``NAME`` are ``onnxruntime/NAME/model.onnx``, an ONNX model without its large
weights, and ``onnxruntime/NAME/region.json``, which says under which names these weights are stored
among the artifact's. So a weight that compiled code reads as well is there once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping

from ingot.errors import ArtifactError
from ingot.runtime.typed_json import decode, parse_json

_FOLDER = "onnxruntime"


@dataclasses.dataclass(frozen=True)
class StoredRegion:
    """A region's description.

    Attributes:
        weights: The name among the artifact's weights, by the initializer's name in the model.
    """

    weights: Mapping[str, str]

    def to_json(self) -> str:
        """The description as JSON."""
        return json.dumps({"weights": dict(self.weights)}, indent=1) + "\n"


def model_member(name: str) -> str:
    """Returns the name of the member that holds a region's model."""
    return f"{_FOLDER}/{name}/model.onnx"


def description_member(name: str) -> str:
    """Returns the name of the member that describes a region."""
    return f"{_FOLDER}/{name}/region.json"


def read_region(name: str, member: Callable[[str], memoryview]) -> StoredRegion:
    """Reads a region's description.

    Args:
        name: The region's name.
        member: Returns a member's bytes.

    Raises:
        ArtifactError: The description is missing or damaged.
    """
    described = description_member(name)
    try:
        region: StoredRegion = decode(StoredRegion, parse_json(member(described)))
    except ValueError as error:
        raise ArtifactError(f"member {described} is damaged: {error}") from error
    return region
