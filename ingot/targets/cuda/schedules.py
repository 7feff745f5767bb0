"""Schedules of kernels: TVM's rules for GPUs (dlight), where what they make can be compiled."""

from __future__ import annotations

import tvm
from tvm.s_tir import dlight

from ingot.targets.cuda.kernels import Kernels, generate_kernels


def scheduled_kernels(module: tvm.IRModule, target: tvm.target.Target) -> Kernels:
    """Schedules prim funcs for a GPU, and generates their kernels.

    A rule can write a schedule that TVM then cannot lower: that of reductions does so for grouped
    convolutions. Such a prim func gets the plainest one, a thread for each element of its result.

    Args:
        module: Prim funcs of fixed sizes.
        target: What they are for.

    Raises:
        CompilationError: A prim func cannot run on a GPU.
    """
    # A rule changes the module that it is given.
    functions = dict(module.functions_items())
    ruled = _by_rules(tvm.IRModule(dict(functions)))
    if (kernels := _kernels(ruled, target)) is not None:
        return kernels
    for variable, function in list(ruled.functions_items()):
        if _kernels(tvm.IRModule({variable: function}), target) is None:
            plain = tvm.IRModule({variable: functions[variable]})
            ruled[variable] = dlight.ApplyDefaultSchedule(dlight.gpu.Fallback())(plain)[variable]
    return generate_kernels(ruled, target)


def _by_rules(module: tvm.IRModule) -> tvm.IRModule:
    return dlight.ApplyDefaultSchedule(
        dlight.gpu.Matmul(),
        dlight.gpu.GEMV(),
        dlight.gpu.Reduction(),
        dlight.gpu.GeneralReduction(),
        dlight.gpu.Transpose(),
        dlight.gpu.Fallback(),
    )(module)


def _kernels(module: tvm.IRModule, target: tvm.target.Target) -> Kernels | None:
    try:
        return generate_kernels(module, target)
    except Exception:  # noqa: BLE001
        # TVM raises errors of many types. Whatever is wrong, the plainest schedule is tried next,
        # and its errors are raised.
        return None
