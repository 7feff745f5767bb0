"""Calls of what runs outside of the compiled code: regions of the graph, by name.

A region is one node of the domain ``ingot.region`` whose operator is the region's name. Compiled
code calls it as a function of the session's. What it returns has sizes that the code has not
computed itself, so that they are checked against what the graph says before anything reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
from tvm import relax, tirx

from ingot.runtime.manifest import REGION_PREFIX
from ingot.targets.relax.types import TENSOR_DTYPES

DOMAIN = "ingot.region"


def call_region(
    builder: relax.BlockBuilder,
    name: str,
    arguments: Sequence[relax.Expr],
    results: Sequence[ir.Value],
    symbols: Mapping[str, tirx.Var],
) -> list[relax.Expr]:
    """Emits the call of a region.

    Args:
        builder: The block builder to emit to.
        name: The region's name.
        arguments: The tensors that it reads.
        results: The values that it computes; none of them foreign.
        symbols: The variables of the graph inputs' symbolic dimensions.

    Returns:
        A tensor for each result.
    """
    types = [_loose_type(value) for value in results]
    whole = types[0] if len(types) == 1 else relax.TupleType(types)
    call = builder.emit(relax.call_pure_packed(REGION_PREFIX + name, *arguments, ty_args=[whole]))
    if len(results) == 1:
        parts: list[Any] = [call]
    else:
        parts = [builder.emit(relax.TupleGetItem(call, i)) for i in range(len(results))]
    return [
        part if value.shape is None else builder.match_cast(part, _exact_type(value, symbols))
        for part, value in zip(parts, results, strict=True)
    ]


def _dtype(value: ir.Value) -> str:
    assert value.dtype is not None
    return TENSOR_DTYPES[value.dtype]


def _loose_type(value: ir.Value) -> relax.TensorType:
    rank = -1 if value.shape is None else len(value.shape)
    return relax.TensorType(dtype=_dtype(value), ndim=rank)


def _exact_type(value: ir.Value, symbols: Mapping[str, tirx.Var]) -> relax.TensorType:
    assert value.shape is not None
    sizes: list[Any] = []
    for axis, size in enumerate(value.shape):
        if isinstance(size, int):
            sizes.append(tirx.IntImm("int64", size))
        elif size.value in symbols:
            sizes.append(symbols[str(size.value)])
        else:
            # A name that no input has may have been written down by hand: it promises nothing.
            sizes.append(tirx.Var(f"region_size_{axis}", "int64"))
    return relax.TensorType(sizes, _dtype(value))
