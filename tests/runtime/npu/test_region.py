"""A region comes back from its members as it was, or not at all."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ingot.errors import ArtifactError
from ingot.runtime.npu.region import (
    Area,
    Configuration,
    Estimate,
    LayerEstimate,
    MemoryEstimate,
    Region,
    RegionTensor,
)

REGION = Region(
    name="region0",
    configuration=Configuration("ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    inputs=(RegionTensor("x", "int8", (1, 4, 4, 8), 1, 128),),
    outputs=(RegionTensor("y", "int32", (1, 10), 1, 0),),
    scratch=Area(1, 256),
    fast_scratch=Area(0, 0),
    weights_base=0,
    graph=b"graph",
    command_stream=b"\x01\x02\x03\x04",
    weights=b"weights",
    versions={"ethos-u-vela": "5.2.0"},
    nodes=("conv", "relu"),
    estimate=Estimate(
        cycles=1000,
        npu_cycles=800,
        macs=4096,
        clock_hz=500e6,
        memories={"Sram": MemoryEstimate(256, 128, 40, 20)},
        layers=(LayerEstimate("y", "Conv2D", 1000, 800, 4096, {"Sram": 20}),),
    ),
)


def read(members: dict[str, bytes]) -> Region:
    return Region.read("region0", lambda name: memoryview(members[name]))


def test_a_region_comes_back_as_it_was() -> None:
    assert read(REGION.members()) == REGION


def test_what_follows_from_it() -> None:
    assert (REGION.inputs[0].size, REGION.outputs[0].size) == (128, 40)
    assert REGION.configuration.product == "ethos-u55"
    assert REGION.configuration.macs_per_cycle == 256
    assert REGION.estimate.inferences_per_second == 500_000
    assert dataclasses.replace(REGION.estimate, cycles=0).inferences_per_second == 0


@pytest.mark.parametrize("file", ["graph.tosa", "command_stream.bin", "weights.bin"])
def test_a_changed_byte_is_noticed(file: str) -> None:
    members = REGION.members()
    name = f"npu/region0/{file}"
    members[name] = bytes([members[name][0] ^ 1]) + members[name][1:]
    with pytest.raises(ArtifactError, match=f"region0 is damaged: {file} does not have the digest"):
        read(members)


DESCRIPTION = json.loads(REGION.members()["npu/region0/region.json"])


@pytest.mark.parametrize(
    "change",
    [
        {"name": "region1"},
        {"inputs": None},
        {"inputs": [{"name": "x"}]},
        {"scratch": {"base": "1", "size": 2}},
        {"weights_base": 1.5},
        {"estimate": []},
        {"more": 1},
    ],
)
def test_a_description_of_other_types_is_noticed(change: dict[str, object]) -> None:
    text = json.dumps({**DESCRIPTION, **change}).encode()
    with pytest.raises(ArtifactError, match=r"npu/region0/region\.json is damaged") as error:
        read({**REGION.members(), "npu/region0/region.json": text})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"{", b"{}", b"[]", b'{"digests": {}}'])
def test_a_damaged_description_is_noticed(text: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"npu/region0/region\.json is damaged"):
        read({**REGION.members(), "npu/region0/region.json": text})


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": (RegionTensor("x", "|O", (1,), 1, 0),)},
        {"inputs": (RegionTensor("x", "fc:3", (1,), 1, 0),)},
        {"outputs": (RegionTensor("y", "int8", (-1, 4), 1, 0),)},
        {"outputs": (RegionTensor("y", "int8", (1 << 20, 1 << 20), 1, 0),)},
        {"outputs": (RegionTensor("y", "int8", (1,), 1, -64),)},
        {"scratch": Area(1, -1)},
        {"scratch": Area(1, 1 << 40)},
    ],
    ids=["object", "unknown", "negative", "large", "before", "no area", "large area"],
)
def test_what_no_npu_has_is_refused(change: dict[str, object]) -> None:
    members = dataclasses.replace(REGION, **change).members()  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match=r"region\.json is damaged") as raised:
        read(members)
    assert len(str(raised.value).splitlines()) == 1
