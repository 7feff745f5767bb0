"""The kinds of mutants by name: what each is of, and how large a part of a run it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.artifacts import SignedArtifacts, WholeArtifacts, npu_regions
from tests.fuzz.data import DataFiles
from tests.fuzz.documents import Recipes, Traces
from tests.fuzz.forkserver import Kind
from tests.fuzz.models import DamagedModels, ModelFiles
from tests.fuzz.requests import GrpcRequests, HttpRequests


@dataclasses.dataclass(frozen=True)
class Entry:
    """A kind.

    Attributes:
        make: Prepares it in a folder of its own.
        share: Its part of all mutants, relative to the others'.
    """

    make: Callable[[Path], Kind]
    share: float


KINDS: dict[str, Entry] = {
    "artifact": Entry(WholeArtifacts, 25),
    "signed": Entry(SignedArtifacts, 10),
    "npu": Entry(npu_regions, 3),
    "model": Entry(DamagedModels, 4),
    "model-file": Entry(ModelFiles, 3),
    "recipe": Entry(Recipes, 15),
    "trace": Entry(Traces, 10),
    "data": Entry(DataFiles, 10),
    "http": Entry(HttpRequests, 10),
    "grpc": Entry(GrpcRequests, 10),
}
