"""What generated code calls by name: only what a machine has that holds the runtime alone.

TVM lowers some operators (sorting, distinct elements) to functions that its compiler's package or
its larger libraries register. Where the code is generated they are there; where it is used they are
not.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import ir, relax, tirx

from ingot.errors import CompilationError

# By the beginning of their names: the virtual machine's own, those that Ingot registers, and those
# of the part of TVM's runtime that travels with it.
_THERE = ("vm.", "ingot.", "runtime.", "ffi.")
_CALLS = ("tirx.tvm_call_packed", "tirx.tvm_call_cpacked")


def require_runtime_functions(module: tvm.IRModule) -> None:
    """Refuses a module that calls a function which the runtime lacks.

    Raises:
        CompilationError: It does; names the function.
    """
    for name in sorted(_called(module)):
        if not name.startswith(_THERE):
            raise CompilationError(f"the function {name} is not part of the runtime")


def _called(module: tvm.IRModule) -> set[str]:
    names: set[str] = set()

    def visit_call(call: ir.Call) -> None:
        if getattr(call.op, "name", "") in _CALLS:
            names.add(str(call.args[0].value))

    def visit_external(expression: relax.Expr) -> None:
        if isinstance(expression, relax.ExternFunc):
            names.add(str(expression.global_symbol))

    for _, function in module.functions_items():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, visit_external)
        elif isinstance(function, tirx.PrimFunc):
            tvm_ffi.structural_walk(function.body, (ir.Call, visit_call))
    return names
