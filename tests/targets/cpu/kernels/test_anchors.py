"""Anchors: what selection says of a problem is what the writer reads, or an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import s_tir, te

from ingot.targets.cpu.families import FAMILIES
from ingot.targets.cpu.kernels.anchors import (
    Anchor,
    MatmulAnchor,
    WordMatmulAnchor,
    WordPacking,
    anchor_attributes,
    anchor_of,
)
from ingot.targets.cpu.kernels.writing.emission import index

MATMUL = MatmulAnchor(depth=7, vectors=2, strides=(1, 2), taps=1)


def block(attributes: dict[str, str]) -> s_tir.SBlock:
    """The block that TVM makes of a computation with attributes."""
    x = te.placeholder((index(4),), "float32", name="x")
    y = te.compute(x.shape, lambda i: x[i] * x[i], name="y", attrs=attributes)
    return te.create_prim_func([x, y]).body.block.body.body.block


def changed(**fields: Any) -> dict[str, str]:
    """The attributes of a matmul's anchor with other fields; None takes one away."""
    ((name, text),) = anchor_attributes(MATMUL).items()
    record = {**json.loads(text), **fields}
    return {name: json.dumps({key: value for key, value in record.items() if value is not None})}


@given(st.sampled_from([family.anchor for family in FAMILIES]).flatmap(st.from_type))
def test_a_block_carries_any_anchor(anchor: Anchor) -> None:
    assert anchor_of(block(anchor_attributes(anchor))) == anchor


def test_a_block_without_an_anchor_has_none() -> None:
    assert anchor_of(block({"schedule_rule": "none"})) is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        pytest.param({"depth": None}, "no key 'depth'", id="missing"),
        pytest.param({"length": 7}, "the unknown key 'length'", id="unknown"),
        pytest.param({"depth": "7"}, "not an integer in 'matmul/depth'", id="of another type"),
        pytest.param({"family": "matmool"}, "no family of kernels", id="of no family"),
        pytest.param({"family": None}, "no family of kernels", id="of none at all"),
    ],
)
def test_a_damaged_anchor_is_an_error(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        anchor_of(block(changed(**fields)))


def test_a_record_inside_of_an_anchor_is_read_as_strictly() -> None:
    anchor = WordMatmulAnchor(8, 2, (), WordPacking(2, 1, 0))
    ((name, text),) = anchor_attributes(anchor).items()
    record = json.loads(text)
    del record["packing"]["arrays"]
    with pytest.raises(ValueError, match="no key 'arrays' in 'integer_matmul/packing'"):
        anchor_of(block({name: json.dumps(record)}))
