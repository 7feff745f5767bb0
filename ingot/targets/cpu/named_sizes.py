"""Names for the sizes that operators compute, so that what reads an image of them can be fused.

A convolution of stride 2 over [N, H, W, C] gives [N, (H - 1) // 2 + 1, ...]. No tensor's shape
tells a prim func over such an image what H is: it takes H as a number besides its tensors, and
TVM's fusion fails on these. With a variable for each such size, the shapes say all.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import tvm
import tvm_ffi
from tvm import relax, tirx

from ingot.targets.cpu.selection.base import OP_PATTERN, OPAQUE
from ingot.targets.relax.expressions import (
    as_expression,
    simplified,
    variables,
)

Names = dict[tirx.Var, tirx.Expr]
"""What variables stand for, in the sizes of the graph's inputs."""

_CALL_TIR = "relax.call_tir"


def name_sizes(module: tvm.IRModule) -> tuple[tvm.IRModule, Names]:
    """Casts what has a computed size to a shape of variables; returns what these stand for."""
    namer = _Namer(module)
    rewritten = namer.visit_expr(module["main"])
    module = namer.builder_.get()
    module["main"] = rewritten
    return module, namer.names


def settle_names(module: tvm.IRModule, names: Names) -> tvm.IRModule:
    """Lets prim funcs write the tensors of the shapes that :func:`name_sizes` cast theirs to."""
    settler = _Settler(module, names)
    rewritten = settler.visit_expr(module["main"])
    module = settler.builder_.get()
    module["main"] = rewritten
    return relax.transform.DeadCodeElimination(["main"])(module)


@relax.expr_functor.mutator
class _Namer(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.names: Names = {}
        self._given = {
            variable
            for parameter in module["main"].params
            for size in _sizes(parameter.ty)
            for variable in variables(size)
        }
        self._by_size: dict[tvm_ffi.StructuralKey, tirx.Var] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        super().visit_var_binding_(binding)
        if not isinstance(binding.var, relax.DataflowVar):
            return
        value = self.visit_expr(binding.var)
        wanted = [self._named(size) for size in _sizes(binding.var.ty)]
        # What is inferred of names and of sizes that have none may be another form, or nothing.
        if wanted and not self._are(_sizes(value.ty), wanted):
            kind = relax.TensorType(wanted, binding.var.ty.dtype)
            self.set_var_remap(binding.var, self.builder_.match_cast(value, kind))

    def _are(self, sizes: list[Any], wanted: list[Any]) -> bool:
        return len(sizes) == len(wanted) and all(map(self._is, sizes, wanted))

    def _is(self, size: Any, wanted: Any) -> bool:
        if tvm_ffi.structural_equal(size, wanted):
            return True
        if any(variable in self.names for variable in (*variables(size), *variables(wanted))):
            return False
        one, other = (as_expression(simplified(value)) for value in (size, wanted))
        return bool(tvm_ffi.structural_equal(one, other))

    def _named(self, size: Any) -> Any:
        if isinstance(size, (tirx.IntImm, tirx.Var)):
            return size
        computed = simplified(size)
        # Sums and products are left: rules that select kernels know them, of attention for one.
        if isinstance(computed, int) or not _is_divided(computed):
            return size
        # Of a size that is computed on the way, fusion would move uses before its definition.
        if not self._given.issuperset(variables(computed)):
            return size
        key = tvm_ffi.StructuralKey(computed)
        if key not in self._by_size:
            variable = tirx.Var(f"extent_{len(self.names)}", "int64")
            self._by_size[key] = variable
            self.names[variable] = computed
        return self._by_size[key]


@relax.expr_functor.mutator
class _Settler(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule, names: Names) -> None:
        super().__init__(module)
        self._names = names
        self._are_defined = False

    def visit_match_cast_(self, binding: relax.MatchCast) -> None:
        kind = binding.ty
        named = self._names_in(kind)
        if named and not self._are_defined:
            sizes = relax.ShapeExpr(list(self._names.values()))
            self.builder_.match_cast(sizes, relax.ShapeType(list(self._names)))
            self._are_defined = True
        value = self.visit_expr(binding.value)
        call = self.lookup_binding(value) if isinstance(value, relax.Var) else None
        if not named or not _is_single_call(call):
            super().visit_match_cast_(binding)
            return
        known = {name for part in call.args[1].fields for name in self._names_in(part.ty)}
        if not known.issuperset(named):
            self._alone(call.args[0])
        settled = relax.call_tir(call.args[0], call.args[1], kind)
        self.set_var_remap(binding.var, self.builder_.emit(settled))

    def _alone(self, function: tvm.ir.GlobalVar) -> None:
        """Keeps out of fusion what computes a size: there, it is an expression in its input's."""
        alone = self.builder_.get()[function].with_attr(OP_PATTERN, OPAQUE)
        self.builder_.update_func(function, alone)

    def _names_in(self, kind: relax.Type) -> set[tirx.Var]:
        return {v for size in _sizes(kind) for v in variables(size) if v in self._names}


def _sizes(kind: relax.Type) -> list[Any]:
    """The sizes of a tensor's type, where they are known."""
    if not isinstance(kind, relax.TensorType) or not isinstance(kind.shape, relax.ShapeExpr):
        return []
    return list(kind.shape)


def _is_divided(size: tirx.Expr) -> bool:
    divided = False

    def visit(_: tirx.FloorDiv) -> None:
        nonlocal divided
        divided = True

    tvm_ffi.structural_walk(size, (tirx.FloorDiv, visit))
    return divided


def _is_single_call(call: Any) -> TypeGuard[relax.Call]:
    return (
        isinstance(call, relax.Call)
        and getattr(call.op, "name", "") == _CALL_TIR
        and isinstance(call.ty, relax.TensorType)
    )
