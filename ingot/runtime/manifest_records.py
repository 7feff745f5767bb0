"""The parts of a manifest that tell people how an artifact came about: what they hold at least.

The runtime needs none of them. Who prints them relies on what is stated here; they may hold more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from ingot.runtime.typed_json import decode


class _Recipe(TypedDict):
    name: str
    shapes: Mapping[str, list[int]]


class _Source(TypedDict):
    sha256: str
    opset: int
    notes: list[str]


class _Precision(TypedDict):
    default: str
    layers: Mapping[str, str]


class _Calibration(TypedDict, total=False):
    sha256: str
    notes: list[str]


class _Left(TypedDict):
    node: str
    operator: str
    reason: str


class _Nodes(TypedDict):
    nodes: int


class _Part(_Nodes, total=False):
    kernels: Mapping[str, Mapping[str, Any]]
    unscheduled: list[str]
    left: list[_Left]


class _Fallback(_Nodes):
    left: list[_Left]
    regions: list[str]


class _Traffic(TypedDict):
    peak: int
    read: int
    written: int


class _Estimate(TypedDict):
    cycles: int
    npu_cycles: int
    macs: int
    clock_hz: float
    inferences_per_second: float | None
    memories: Mapping[str, _Traffic]


class _Npu(_Nodes):
    regions: list[str]
    macs: int
    share_of_macs: float
    borders: int
    border_bytes: int
    estimate: _Estimate


class _LeftToCpu(_Nodes):
    left: list[_Left]


class _Pass(TypedDict):
    name: str
    applied: int
    seconds: float
    nodes_before: int
    nodes_after: int


class _Ran(TypedDict):
    ran: bool


class _Compared(_Ran):
    max_rel_error: float


class _Sizes(TypedDict, total=False):
    sizes: list[Mapping[str, int]]
    samples: int


class _StepTrial(TypedDict):
    name: str
    decision: str
    reason: str


class _Optimization(TypedDict):
    goal: str
    kept: list[str]
    trials: list[_StepTrial]


class _Measured(TypedDict, total=False):
    stage_seconds: Mapping[str, float]
    passes: list[_Pass]
    verification: _Ran
    quantization: Mapping[str, Any]
    optimization: _Optimization


RECORDS: dict[str, Any] = {
    "recipe": _Recipe,
    "source": _Source,
    "precision": _Precision,
    "calibration": _Calibration,
    "placement": Mapping[str, _Part],
    "measured": _Measured,
}
"""The records by their names in the manifest, and the type of each."""


def check_records(records: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that records hold what is stated here.

    Args:
        records: Those of :data:`RECORDS`, by name.

    Raises:
        ValueError: Something is missing or of another type; says what.
    """
    for name, kind in RECORDS.items():
        decode(kind, records[name], name)
    placement = records["placement"]
    if "onnxruntime" in placement:
        decode(_Fallback, placement["onnxruntime"], "placement/onnxruntime")
    if "npu" in placement:
        decode(_Npu, placement["npu"], "placement/npu")
        decode(_LeftToCpu, placement.get("cpu"), "placement/cpu")
    verification = records["measured"].get("verification", {"ran": False})
    if verification["ran"]:
        decode(_Compared, verification, "measured/verification")
        decode(_Sizes, verification, "measured/verification")
