"""Prim funcs over open sizes that TVM's fusion would stumble over."""

from __future__ import annotations

import tvm
from tvm import ir, tirx

from ingot.targets.cpu.selection.base import OP_PATTERN, OPAQUE


def keep_numbers_apart(module: tvm.IRModule) -> tvm.IRModule:
    """Keeps prim funcs out of fusion that take sizes as numbers besides their tensors.

    They do where a tensor's size is a sum, of a cache and new tokens say, whose parts no other
    tensor's shape tells. Of several that are fused TVM lists these numbers behind the tensors,
    whose shapes it takes to define them, and then fails on their second definition.
    """
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and any(
            isinstance(parameter.ty, ir.PrimType) for parameter in function.params
        ):
            module[name] = function.with_attr(OP_PATTERN, OPAQUE)
    return module
