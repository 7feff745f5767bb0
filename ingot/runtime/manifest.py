"""What an artifact says of itself: ``manifest.json``."""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ingot.errors import ArtifactError
from ingot.runtime.manifest_records import RECORDS, check_records
from ingot.runtime.trust import SIGNATURES_MEMBER
from ingot.runtime.typed_json import decode, parse_json

FORMAT_VERSION = 6
MANIFEST_MEMBER = "manifest.json"
CODE_MEMBER = "lib.so"
WEIGHTS_MEMBER = "params.safetensors"
# NumPy's name of the dtype of strings.
STRING_DTYPE = "object"
# What compiled code calls a region by: this and its name.
REGION_PREFIX = "ingot.region."
# The same for a region that writes its outputs where it is told to, as TVM's own kernels do.
NPU_PREFIX = "ingot.npu."


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model.

    Attributes:
        name: The tensor's name in the source model.
        dtype: Its NumPy dtype's name.
        shape: Its dimensions; a string is a symbol that is bound when the model runs.
        in_code: Whether compiled code holds the value. Others only regions read or make.
        onnx_type: Of a value that is not a tensor of known rank, its type as ONNX Runtime writes
            it, ``seq(tensor(float))``; dtype and shape say nothing then.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    in_code: bool = True
    onnx_type: str | None = None

    @functools.cached_property
    def is_numeric(self) -> bool:
        """Whether it is a tensor of known rank, of anything but strings."""
        return self.onnx_type is None and self.dtype != STRING_DTYPE

    def __str__(self) -> str:
        """Returns the spec as ``name: dtype[N, 3, 224, 224]``."""
        if self.onnx_type is not None:
            return f"{self.name}: {self.onnx_type}"
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class WeightSpec:
    """A weight as code and regions take it, whatever type it is stored in.

    Attributes:
        dtype: Its NumPy dtype's name.
        shape: Its dimensions.
    """

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Returns the spec as ``float32[64, 3, 7, 7]``."""
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class TargetInfo:
    """What the code was made for.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``npu``.
        spec: The target as the user wrote it, defaults filled in.
        architecture: First part of the target triple, such as ``x86_64``.
        features: Instruction-set features that the code needs, by the kernel's names.
    """

    kind: str
    spec: str
    architecture: str
    features: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of the artifact: its size in bytes and its SHA-256 digest in hex."""

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class KernelCost:
    """What one call of a kernel computes and moves.

    Attributes:
        operators: The operators that it computes, in order, joined by ``+``.
        operations: Arithmetic operations, a multiply-add being two; None where a dimension is
            symbolic.
        bytes: Bytes of inputs and outputs, each once; None where a dimension is symbolic.
        calls: From how many places of the model it is called.
    """

    operators: str
    operations: int | None
    bytes: int | None
    calls: int


@dataclasses.dataclass(frozen=True)
class RegionInfo:
    """A part of the model that something other than the artifact's code runs.

    Attributes:
        executor: ``cuda``, ``npu`` or ``onnxruntime``.
        nodes: Names of the source graph's nodes that it computes.
        inputs: What it reads, in order.
        outputs: What it makes, in order.
    """

    executor: str
    nodes: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of ``manifest.json``.

    Everything but ``measured`` is a function of the model, the recipe and the tool versions;
    ``measured`` holds what the build took (seconds) and found, and differs from build to build.

    Attributes:
        format_version: Version of this format; a reader refuses one that it does not know.
        name: The model's name.
        inputs: The model's inputs, in order.
        outputs: The model's outputs, in order.
        weights: The weights by name, all that the file holds.
        parameters: Names of those that the code takes, in its order.
        target: What the code was made for.
        precision: Default precision, and the layers that differ from it.
        recipe: The recipe as it was used, defaults filled in.
        source: SHA-256 of the source model and its graph facts.
        calibration: SHA-256 of the calibration data, where there was any.
        placement: Which nodes run where.
        regions: What other things than the code run, by name.
        members: The other members of the file.
        tools: Versions of the tools that made it.
        measured: What was measured at build time: stage seconds, pass records.
    """

    format_version: int
    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: Mapping[str, WeightSpec]
    parameters: tuple[str, ...]
    target: TargetInfo
    precision: Mapping[str, Any]
    recipe: Mapping[str, Any]
    source: Mapping[str, Any]
    calibration: Mapping[str, Any]
    placement: Mapping[str, Any]
    regions: Mapping[str, RegionInfo]
    members: Mapping[str, Member]
    tools: Mapping[str, str]
    measured: Mapping[str, Any]

    @property
    def passes(self) -> Sequence[Mapping[str, Any]]:
        """The records of the passes that ran, in order."""
        records: Sequence[Mapping[str, Any]] = self.measured.get("passes", ())
        return records

    @property
    def npu_regions(self) -> tuple[str, ...]:
        """Names of the regions that an NPU runs; none where the artifact is for the CPU alone."""
        return tuple(name for name, region in self.regions.items() if region.executor == "npu")

    @property
    def left_to_onnxruntime(self) -> str:
        """What ONNX Runtime runs, in a sentence; empty where it runs nothing."""
        part = self.placement.get("onnxruntime")
        if part is None:
            return ""
        counts = collections.Counter(entry["operator"] for entry in part["left"])
        operators = ", ".join(
            kind if count == 1 else f"{kind} ({count})" for kind, count in counts.most_common()
        )
        regions = len(part["regions"])
        return (
            f"{part['nodes']} nodes in {regions} region{'s' * (regions > 1)} run in ONNX Runtime, "
            f"for {operators}"
        )

    @property
    def kernels(self) -> dict[str, KernelCost]:
        """The kernels by name, of all places that state them; a place may state none."""
        return {
            name: KernelCost(**cost)
            for part in self.placement.values()
            for name, cost in part.get("kernels", {}).items()
        }

    @property
    def operations(self) -> int | None:
        """Arithmetic operations of an inference; None where a kernel's are unknown.

        Those of an NPU are two for each multiply-add of the layers that it has.
        """
        counts = [
            None if kernel.operations is None else kernel.operations * kernel.calls
            for kernel in self.kernels.values()
        ]
        if "npu" in self.placement:
            counts.append(2 * int(self.placement["npu"]["macs"]))
        known = [count for count in counts if count is not None]
        return sum(known) if counts and len(known) == len(counts) else None

    def to_json(self) -> str:
        """Returns the manifest as JSON, keys in a fixed order."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parses ``manifest.json``.

        Raises:
            ArtifactError: The text is damaged, or of a version that this Ingot does not know.
        """
        try:
            raw = parse_json(text.encode() if isinstance(text, str) else text)
            version = decode(_Versioned, raw)["format_version"]
        except ValueError as error:
            raise ArtifactError(f"the artifact's manifest is damaged: {error}") from error
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"the artifact has format version {version}, this Ingot reads version "
                f"{FORMAT_VERSION}: compile the model again, or install the Ingot that made it"
            )
        try:
            manifest: Manifest = decode(cls, raw)
            check_records({name: getattr(manifest, name) for name in RECORDS})
            for part in manifest.placement.values():
                decode(Mapping[str, KernelCost], part.get("kernels", {}), "kernels")
            _check_members(manifest)
            _check_tensors(manifest)
        except ValueError as error:
            raise ArtifactError(f"the artifact's manifest is damaged: {error}") from error
        return manifest


class _Versioned(TypedDict):
    format_version: int


_DIGEST = re.compile("[0-9a-f]{64}")
_DTYPES = frozenset(
    [
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128", "object", "bfloat16"),
        *("int2", "int4", "uint2", "uint4", "float4_e2m1fn", "float8_e4m3fn", "float8_e4m3fnuz"),
        *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    ]
)
# More than any machine addresses: sizes that are computed from such shapes would wrap around.
_MOST_ELEMENTS = 1 << 44
_HIGHEST_RANK = 64


def _check_members(manifest: Manifest) -> None:
    for name, member in manifest.members.items():
        if name in (MANIFEST_MEMBER, SIGNATURES_MEMBER):
            raise ValueError(f"member {name!r} can have no digest in it")
        if member.size < 0 or not _DIGEST.fullmatch(member.sha256):
            raise ValueError(f"member {name!r} has no size and digest")


def _check_tensors(manifest: Manifest) -> None:
    for group in (manifest.inputs, manifest.outputs):
        names = [spec.name for spec in group]
        if len(set(names)) != len(names):
            raise ValueError(f"two inputs or outputs have one name of {names}")
    specs = [*manifest.inputs, *manifest.outputs]
    for region in manifest.regions.values():
        specs += [*region.inputs, *region.outputs]
    for spec in specs:
        if spec.onnx_type is None:
            _check_shape(spec.name, spec.dtype, spec.shape)
    for name, weight in manifest.weights.items():
        _check_shape(name, weight.dtype, weight.shape)
    for name in manifest.parameters:
        if name not in manifest.weights:
            raise ValueError(f"parameter {name!r} is no weight")


def _check_shape(name: str, dtype: str, shape: Sequence[int | str]) -> None:
    if dtype not in _DTYPES:
        raise ValueError(f"{name!r} has the unknown dtype {dtype!r}")
    sizes = [size for size in shape if isinstance(size, int)]
    if (
        len(shape) > _HIGHEST_RANK
        or any(not 0 <= size <= _MOST_ELEMENTS for size in sizes)
        or math.prod(sizes) > _MOST_ELEMENTS
    ):
        raise ValueError(f"{name!r} has an impossible shape of rank {len(shape)}: {shape[:8]}")
