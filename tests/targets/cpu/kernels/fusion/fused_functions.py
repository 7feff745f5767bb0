"""Fused prim funcs as TVM leaves them: an anchor, and element-wise steps behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te, tirx

from ingot.targets.cpu.kernels.anchors import MatmulAnchor, anchor_attributes
from ingot.targets.cpu.kernels.writing.emission import index

DEPTH = 3
ANCHOR = MatmulAnchor(DEPTH, vectors=1, strides=(), taps=1)

# Makes the result of an anchor's result and of further operands.
Steps = Callable[..., te.Tensor]


def tensor(*shape: int, name: str) -> te.Tensor:
    return te.placeholder(tuple(map(index, shape)), "float32", name)


def elementwise(source: te.Tensor, value: Callable[..., Any], name: str) -> te.Tensor:
    return te.compute(source.shape, value, name=name)


def fused(shape: tuple[int, ...], steps: Steps, *operands: tuple[int, ...]) -> tirx.PrimFunc:
    """An anchor with a result of some shape, and what follows it, as fusion leaves them."""
    rows = tensor(*shape[:-1], DEPTH, name="rows")
    weights = tensor(DEPTH, shape[-1], name="weights")
    k = te.reduce_axis((index(0), index(DEPTH)), "k")
    anchor = te.compute(
        tuple(map(index, shape)),
        lambda *at: te.sum(rows(*at[:-1], k) * weights[k, at[-1]], axis=[k]),
        name="anchor",
        attrs=anchor_attributes(ANCHOR),
    )
    others = [tensor(*size, name=f"operand_{i}") for i, size in enumerate(operands)]
    return te.create_prim_func([rows, weights, *others, steps(anchor, *others)])


def relu(source: te.Tensor) -> te.Tensor:
    return elementwise(source, lambda *at: te.max(source(*at), tirx.const(0.0, "float32")), "relu")


def add(left: te.Tensor, right: te.Tensor) -> te.Tensor:
    return elementwise(left, lambda *at: left(*at) + right(*at), "add")


def silu(source: te.Tensor) -> te.Tensor:
    gate = elementwise(source, lambda *at: tirx.sigmoid(source(*at)), "gate")
    return elementwise(source, lambda *at: source(*at) * gate(*at), "product")
