"""What only moves values moves bfloat16, where these were made of bfloat16.

A graph in 16 bits has a cast to float32 in front of each operator, and one back behind it. Around
what moves values they change nothing but the bytes that it reads and writes.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from ingot.targets.cpu.selection.base import is_call

_CAST = "relax.astype"
# Their first operand is what they move.
_MOVES = (
    "relax.reshape", "relax.permute_dims", "relax.expand_dims", "relax.squeeze", "relax.flatten",
    "relax.strided_slice", "relax.broadcast_to",
)  # fmt: skip
_JOIN = "relax.concat"


@relax.expr_functor.mutator
class _Mover(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        if is_call(call, _CAST) and str(call.attrs.dtype) == "bfloat16":
            short = self._short(call.args[0])
            return call if short is None else short
        if is_call(call, *_MOVES):
            short = self._short(call.args[0])
            return call if short is None else self._moved(call, [short, *call.args[1:]])
        if is_call(call, _JOIN) and isinstance(call.args[0], relax.Tuple):
            parts = [self._short(part) for part in call.args[0].fields]
            if parts and all(part is not None for part in parts):
                return self._moved(call, [relax.Tuple(parts)])
        return call

    def _short(self, value: relax.Expr) -> relax.Expr | None:
        """The bfloat16 that a float32 was made of, if it was."""
        cast: Any = self.lookup_binding(value) if isinstance(value, relax.Var) else None
        if not is_call(cast, _CAST) or str(cast.attrs.dtype) != "float32":
            return None
        source = cast.args[0]
        return source if str(source.ty.dtype) == "bfloat16" else None

    def _moved(self, call: relax.Call, operands: list[relax.Expr]) -> relax.Expr:
        moved = self.builder_.emit(relax.Call(call.op, operands, call.attrs, call.ty_args))
        return relax.op.astype(moved, "float32")


def move_bfloat16(module: tvm.IRModule) -> tvm.IRModule:
    """Returns the module with casts from bfloat16 behind what moves values, and none back."""
    mover = _Mover(module)
    function = mover.visit_expr(module["main"])
    module = mover.builder_.get()
    module["main"] = function
    return relax.transform.DeadCodeElimination(["main"])(module)
