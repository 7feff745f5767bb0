"""From scheduled prim funcs to what LLVM takes: TVM's passes that a CPU needs, and some more.

Mathematical functions are replaced last of all. The arithmetic that stands for exp, erf and their
like must reach LLVM as it is, but TVM's simplifier treats floats as real numbers: it cancels
``x + c - c``, which is how such code rounds, and writes the value of a bound variable back into
each place where it is used, which makes a polynomial in Horner's form grow with every degree. So
the calls stay calls, vectorized in time, until its passes are through; they are spared the work.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.tirx import compilation_pipeline
from tvm.tirx import stmt as statements

from ingot.runtime.alignment import CALLERS_ALIGNMENT
from ingot.targets.cpu import bfloat16
from ingot.targets.cpu.floats import is_float, opaque
from ingot.targets.cpu.kernels.writing.emission import SCHEDULED
from ingot.targets.cpu.let_bindings import EVALUATED_ONLY_IF, bind_let_expressions
from ingot.targets.cpu.storage import rewrite_storage
from ingot.targets.cpu.vector_math import replace_math_calls

TIR_PIPELINE = "ingot.cpu"

_STORAGE_ALIGNMENT = "storage_alignment"
_NO_ALIAS = "tirx.noalias"
_VECTORIZABLE = "TVectorizable"
# Operators that the vectorizer knows of itself.
_OTHERS_VECTORIZED = frozenset({"tirx.reinterpret", "tirx.prefetch", "tirx.address_of"})
# Vector arithmetic replaces them, or LLVM has them for vectors, but TVM does not say so.
for _operator in ("tirx.erf", "tirx.rsqrt", "tirx.isnan"):
    if not ir.Op.get(_operator).get_attr(_VECTORIZABLE):
        ir.register_op_attr(_operator, _VECTORIZABLE, True)


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _loops_of_scalar_calls(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    """Makes vector loops that hold a call of a scalar function (of libm, say) plain loops.

    TVM would do so itself, but loses the variables that are bound in the loop.
    """
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            body = tvm_ffi.structural_map(function.body, (statements.For, _plain_if_scalar))
            if not body.same_as(function.body):
                module[name] = function.with_body(body)
    return module


def _plain_if_scalar(loop: statements.For) -> statements.For:
    if loop.kind != statements.ForKind.VECTORIZED or not _has_scalar_call(loop):
        return loop
    kind = statements.ForKind.UNROLLED if _wraps_around(loop) else statements.ForKind.SERIAL
    return statements.For(loop.loop_var, loop.min, loop.extent, kind, loop.body)


def _wraps_around(loop: statements.For) -> bool:
    """Whether a remainder of the loop's variable by a power of two begins again within the loop.

    LLVM 22, where it makes vectors of such a loop that also chooses by the remainder, may take the
    places that are read to go on instead.
    """
    found = False

    def visit(remainder: tirx.FloorMod) -> None:
        nonlocal found
        variables = tirx.analysis.undefined_vars(remainder.a)
        by = remainder.b
        if isinstance(by, tirx.IntImm) and any(loop.loop_var.same_as(v) for v in variables):
            period = int(by.value)
            found |= period & (period - 1) == 0 and period < int(loop.extent)

    tvm_ffi.structural_walk(loop.body, (tirx.FloorMod, visit))
    return found


def _has_scalar_call(loop: statements.For) -> bool:
    scalar = False
    # The loop's variable, and those that may depend on it.
    bound = {loop.loop_var}
    tvm_ffi.structural_walk(loop.body, (statements.Bind, lambda bind: bound.add(bind.var)))

    def visit(call: ir.Call) -> None:
        nonlocal scalar
        if not isinstance(call.op, ir.Op):
            scalar = True
        elif call.op.name == EVALUATED_ONLY_IF:
            # A condition that is the same for all lanes stays one condition.
            variables = tirx.analysis.undefined_vars(call.args[0])
            scalar = scalar or any(variable in bound for variable in variables)
        elif call.op.name not in _OTHERS_VECTORIZED and not call.op.get_attr(_VECTORIZABLE):
            scalar = True

    tvm_ffi.structural_walk(loop.body, (ir.Call, visit))
    return scalar


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _hidden_vectors(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    """Hides the vectors that variables are bound to from TVM's analyzer, where it would fail."""
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            body = tvm_ffi.structural_map(function.body, (statements.Bind, _hidden))
            if not body.same_as(function.body):
                module[name] = function.with_body(body)
    return module


def _hidden(bind: statements.Bind) -> statements.Bind:
    kind = bind.value.ty
    if not isinstance(kind, ir.PrimType) or kind.dtype.lanes == 1 or is_float(kind):
        return bind
    return statements.Bind(bind.var, opaque(bind.value))


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _math_as_arithmetic(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            module[name] = bind_let_expressions(
                replace_math_calls(bfloat16.in_instructions(function))
            )
    return module


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _bfloat16_by_its_bits(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            module[name] = bfloat16.by_bits(function)
    return module


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _without_aliases(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    """Says of every prim func that its buffers do not overlap, as planned memory does not.

    TVM's code generator takes this from the last function that it declares, for the whole module.
    The function that computes shapes does not say it, and in a model of dynamic shape all kernels
    stored their accumulators at every step.
    """
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            module[name] = function.with_attr(_NO_ALIAS, True)
    return module


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _callers_alignment(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    """Has code expect no more of a tensor's address than what memory allocators give.

    A vector's load costs the same either way, a copy of the network's input would not.
    """
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            body = tvm_ffi.structural_map(function.body, (statements.AttrStmt, _with_alignment))
            if not body.same_as(function.body):
                module[name] = function.with_body(body)
    return module


def _with_alignment(statement: statements.AttrStmt) -> statements.AttrStmt:
    if statement.attr_key != _STORAGE_ALIGNMENT:
        return statement
    alignment = tirx.const(CALLERS_ALIGNMENT, "int32")
    return statements.AttrStmt(statement.node, _STORAGE_ALIGNMENT, alignment, statement.body)


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _compact_allocations(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    """Shrinks what TVM's own code allocates to what is used.

    What was written here allocates no more than that; to find so takes a third of a build, and
    TVM's analysis divides by zero where it takes the size of an open dimension for nothing.
    """
    scheduled = {
        name: function
        for name, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc) and not (function.attrs or {}).get(SCHEDULED)
    }
    compacted = s_tir.transform.CompactBufferAllocation()(tvm.IRModule(scheduled))
    for name, function in compacted.functions_items():
        module[name] = function
    return module


def _lower() -> tvm.transform.Pass:
    return tvm.transform.Sequential(
        [
            _without_aliases,
            s_tir.transform.CanonicalizeLoop(),
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            _compact_allocations,
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.StmtSimplify(),
            s_tir.transform.LowerOpaqueBlock(),
            tirx.transform.FlattenBuffer(),
            _bfloat16_by_its_bits,
            tirx.transform.BF16ComputeLegalize(),
            tirx.transform.NarrowDataType(32),
            s_tir.transform.LoopPartition(),
            _loops_of_scalar_calls,
            tirx.transform.VectorizeLoop(True),
            rewrite_storage,
            s_tir.transform.HoistIfThenElse(),
            tirx.transform.UnrollLoop(),
            s_tir.transform.RenormalizeSplitPattern(),
            tirx.transform.StmtSimplify(),
            tirx.transform.RemoveNoOp(),
            s_tir.transform.RewriteUnsafeSelect(),
            tirx.transform.CommonSubexprElim(),
            _hidden_vectors,
            tirx.transform.FP8ComputeLegalize(),
            tirx.transform.VerifyMemory(),
            tirx.transform.SplitHostDevice(),
            tirx.transform.MakePackedAPI(),
            _callers_alignment,
            # Of arguments' kinds and shapes: kilobytes a kernel, run at each call. The session
            # checks the inputs, and what lies between kernels was planned with them.
            tirx.transform.SkipAssert(),
            tirx.transform.FP8StorageLegalize(),
            tirx.transform.BF16StorageLegalize(),
        ]
    )


def _finalize() -> tvm.transform.Pass:
    return tvm.transform.Sequential(
        [
            # Would make calls that allocate memory of the local buffers that follow.
            tirx.transform.LowerTVMBuiltin(),
            _math_as_arithmetic,
            tirx.transform.LowerIntrin(),
        ]
    )


compilation_pipeline.register_tir_pipeline(TIR_PIPELINE, lambda: (_lower(), _finalize, _finalize))
