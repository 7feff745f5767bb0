"""Merging of kernels across what FuseOps keeps apart: two convolutions in a row."""

from __future__ import annotations

from typing import TypeVar, cast

import tvm
from tvm import relax, tirx

from ingot.targets.cpu.kernels.anchors import Anchor, DepthwiseAnchor, MatmulAnchor
from ingot.targets.cpu.kernels.convolution.expansion import plan_expansion, write_expansion
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.fusion.taking_apart import NotFusableError, take_apart
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.relax.uses import count_uses

_CALL_TIR = "relax.call_tir"
_Wanted = TypeVar("_Wanted", bound=Anchor)


@relax.expr_functor.mutator
class _Merger(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule, cpu: CpuDescription) -> None:
        super().__init__(module)
        self._module, self._cpu = module, cpu
        self._uses = count_uses(module["main"])

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        window = self._kernel(call, DepthwiseAnchor)
        if window is None:
            return call
        image, *others = call.args[1].fields
        if not isinstance(image, relax.Var) or self._uses[image] != 1:
            return call
        producer = self.lookup_binding(image)
        expansion = self._kernel(producer, MatmulAnchor)
        plan = None
        if expansion is not None:
            plan = plan_expansion(expansion, window, self._cpu)
        if expansion is None or plan is None:
            return call
        name = f"{producer.args[0].name_hint}_{call.args[0].name_hint}"
        merged = self.builder_.add_func(write_expansion(expansion, window, plan), name)
        return relax.call_tir(merged, [*producer.args[1].fields, *others], call.ty)

    def _kernel(
        self, call: relax.Expr | None, anchor: type[_Wanted]
    ) -> FusedKernel[_Wanted] | None:
        """The kernel that a call is of, where it begins with such an anchor."""
        if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != _CALL_TIR:
            return None
        function = self._module[call.args[0]]
        if not isinstance(function, tirx.PrimFunc):
            return None
        try:
            kernel = take_apart(function)
        except NotFusableError:
            return None
        if not isinstance(kernel.anchor, anchor) or kernel.prologue:
            return None
        return cast("FusedKernel[_Wanted]", kernel)


def merge_expansions(module: tvm.IRModule, cpu: CpuDescription) -> tvm.IRModule:
    """Merges 1x1 convolutions with the depthwise ones that alone read them."""
    merger = _Merger(module, cpu)
    rewritten = merger.visit_expr(module["main"])
    module = merger.builder_.get()
    module["main"] = rewritten
    return relax.transform.DeadCodeElimination(["main"])(module)
