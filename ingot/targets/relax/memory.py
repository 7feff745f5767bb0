"""Memory between kernels: what ``main`` allocates, which tensors share it, and when it ends."""

from __future__ import annotations

import tvm
from tvm import relax

from ingot.targets.relax.allocations import bounded_allocations


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _bounded_allocations(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    return bounded_allocations(module)


def plan_memory(module: tvm.IRModule) -> tvm.IRModule:
    """Returns a module whose ``main`` calls kernels and allocates what they need."""
    return tvm.transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
            relax.transform.CallTIRRewrite(),
            relax.transform.StaticPlanBlockMemory(),
            relax.transform.LowerAllocTensor(),
            _bounded_allocations,
            relax.transform.KillAfterLastUse(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
            relax.transform.AttachGlobalSymbol(),
        ]
    )(module)
