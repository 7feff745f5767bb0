"""A plan that leaves its blocks, or is damaged, is refused before anything is launched."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ingot.errors import ArtifactError
from ingot.runtime.cuda.plan import ARENA, WEIGHTS, Buffer, Check, Constant, Launch, Plan, Weight

_PLAN = Plan(
    version=1,
    architectures=("sm_80",),
    arena=512,
    weight_bytes=256,
    inputs=(Buffer((ARENA, 0), 64),),
    outputs=(Buffer((ARENA, 256), 64),),
    weights=(Weight("w", Buffer((WEIGHTS, 0), 256)),),
    constants=(Constant(Buffer((ARENA, 64), 3), "AAAA"),),
    checks=(Check(0, -5, 5, "index {0} is outside of {2} entries"),),
    kernels=("k",),
    launches=(Launch(0, (1, 1, 1), (64, 1, 1), 0, ((ARENA, 0), (WEIGHTS, 0), (ARENA, 256))),),
)


def test_a_plan_is_what_was_written() -> None:
    assert Plan.from_json(_PLAN.to_json()) == _PLAN
    assert _PLAN.constants[0].contents() == b"\0\0\0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arena": 300}, "64 bytes at 256 are outside of block 0"),
        ({"inputs": (Buffer((ARENA, -1), 4),)}, "4 bytes at -1 are outside of block 0"),
        ({"outputs": (Buffer((2, 0), 4),)}, "are outside of block 2"),
        ({"checks": (Check(1, 0, 1, ""),)}, "there is no input 1 to check"),
        ({"kernels": ()}, "there is no kernel 0"),
        ({"launches": (Launch(0, (1, 1, 1), (0, 1, 1), 0, ()),)}, "cannot be launched so"),
        ({"launches": (Launch(0, (1, 1, 1), (1, 1, 1), 0, ((WEIGHTS, 256),)),)}, "are outside"),
    ],
)
def test_a_plan_that_leaves_its_blocks_is_refused(changes: dict[str, object], message: str) -> None:
    damaged = dataclasses.replace(_PLAN, **changes)
    with pytest.raises(ArtifactError, match=message):
        Plan.from_json(damaged.to_json())


def test_another_version_and_no_plan_are_refused() -> None:
    raw = json.loads(_PLAN.to_json())
    with pytest.raises(ArtifactError, match="of version 2, this Ingot runs version 1"):
        Plan.from_json(json.dumps({**raw, "version": 2}).encode())
    with pytest.raises(ArtifactError, match="plan for a GPU is damaged"):
        Plan.from_json(json.dumps({**raw, "arena": "much"}).encode())


@pytest.mark.parametrize("data", ["AAAA AAAA", "AAA*", "AAAAAAAA"])
def test_a_constant_that_is_damaged_is_refused(data: str) -> None:
    constant = dataclasses.replace(_PLAN.constants[0], data=data)
    with pytest.raises(ArtifactError, match="damaged: a constant"):
        constant.contents()
