"""Code for one thread: loops that threads would share are plain loops."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx import stmt as statements


def serial_loops(module: tvm.IRModule) -> tvm.IRModule:
    """Returns a module without parallel loops: no task is set up, and none is waited for."""
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            body = tvm_ffi.structural_map(function.body, (statements.For, _serial))
            if not body.same_as(function.body):
                module[name] = function.with_body(body)
    return module


def _serial(loop: statements.For) -> statements.For:
    if loop.kind != statements.ForKind.PARALLEL:
        return loop
    return statements.For(
        loop.loop_var, loop.min, loop.extent, statements.ForKind.SERIAL, loop.body
    )
