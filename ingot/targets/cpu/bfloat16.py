"""bfloat16 in the processor's instructions: rounding to it, and sums of products of pairs.

TVM takes bfloat16 for a float of LLVM's that is none, so that LLVM's intrinsics on it cannot be
called. Kernels call operators of Ingot's own on the bits instead. When TVM's passes are through,
those become calls of functions in LLVM's language, which come with the prim func and are inlined.

* Rounding is to nearest, ties to even. ``vcvtneps2bf16`` makes zero of what is below the smallest
  normal float32; without it, integer arithmetic rounds the same but for that.
* ``vdpbf16ps`` adds the products of a pair to a float32: each product is exact, each sum rounded to
  nearest, ties to even, and what is below the smallest normal number counts as zero (Intel,
  "BFLOAT16 - Hardware Numerics Definition", 2018).
"""

from __future__ import annotations

from collections.abc import Collection

import tvm
import tvm_ffi
from tvm import ir, tirx
from tvm.target import codegen
from tvm.tirx import stmt as statements

from ingot.targets.relax.tvm_internals import register_operator

_ROUND = "ingot.bfloat16_bits"
_DOT = "ingot.bfloat16_dot"
# TVM's kind of an operator without effects.
_PURE = 1
for _name, _description in (
    (_ROUND, "The bits of a float32 that is rounded to bfloat16, as uint16."),
    (_DOT, "A float32 and the products of two bfloat16 with two others, each pair an int32."),
):
    register_operator(_name, _description)
    ir.register_op_attr(_name, "TCallEffectKind", _PURE)
    ir.register_op_attr(_name, "TVectorizable", True)
    ir.register_op_attr(_name, "TScriptPrinterName", _name)

_FEATURE = "avx512bf16"
_IMPORT = "pragma_import_llvm"
# A quiet NaN.
_NAN_BITS = 0x7FC0

# Vectors of AVX-512, and halves of them.
_DOT_TEXT = """
define linkonce_odr <{n} x float> @{name}(<{n} x float> %t, <{n} x i32> %a, <{n} x i32> %b) #0 {{
  %x = bitcast <{n} x i32> %a to <{m} x bfloat>
  %y = bitcast <{n} x i32> %b to <{m} x bfloat>
  %r = call <{n} x float> @{intrinsic}(<{n} x float> %t, <{m} x bfloat> %x, <{m} x bfloat> %y)
  ret <{n} x float> %r
}}
declare <{n} x float> @{intrinsic}(<{n} x float>, <{m} x bfloat>, <{m} x bfloat>)
attributes #0 = {{ alwaysinline }}
"""
_ROUND_TEXT = """
define linkonce_odr {bits} @{name}({floats} %v) #0 {{
  %r = fptrunc {floats} %v to {rounded}
  %b = bitcast {rounded} %r to {bits}
  ret {bits} %b
}}
attributes #0 = {{ alwaysinline }}
"""
_INTRINSICS = {n: f"llvm.x86.avx512bf16.dpbf16ps.{32 * n}" for n in (4, 8, 16)}


def multiplies_pairs(features: Collection[str]) -> bool:
    """Returns whether a processor has the instructions.

    Args:
        features: By the kernel's names.
    """
    return "avx512_bf16" in features


def add_products(total: tirx.Expr, rows: tirx.Expr, weights: tirx.Expr) -> tirx.Expr:
    """Returns float32 lanes to each of which the products of two pairs are added.

    Args:
        total: float32x4, x8 or x16.
        rows: As many lanes of int32, each two bfloat16.
        weights: The same.
    """
    return tirx.call_intrin(total.ty, _DOT, total, rows, weights)


def round_to_bfloat16(value: tirx.Expr) -> tirx.Expr:
    """Returns a float32, scalar or vector, rounded to bfloat16."""
    dtype = str(value.ty.dtype)
    bits = tirx.call_intrin(dtype.replace("float32", "uint16"), _ROUND, value)
    return tirx.reinterpret(dtype.replace("float32", "bfloat16"), bits)


def bits_of(value: tirx.Expr) -> tirx.Expr:
    """Returns the bits of a bfloat16 as uint16, scalar or vector; another type stays as it is.

    Buffers within a kernel hold bits: TVM would make float32 of theirs.
    """
    dtype = str(value.ty.dtype)
    if not dtype.startswith("bfloat16"):
        return value
    return tirx.reinterpret(dtype.replace("bfloat16", "uint16"), value)


def from_bfloat16(value: tirx.Expr) -> tirx.Expr:
    """Returns a bfloat16, scalar or vector, as float32: its bits are the upper half of one's."""
    lanes = str(value.ty.dtype).removeprefix("bfloat16")
    bits = tirx.Cast(f"uint32{lanes}", tirx.reinterpret(f"uint16{lanes}", value))
    half = tirx.IntImm("uint32", 16)
    count = tirx.Broadcast(half, int(lanes[1:])) if lanes else half
    return tirx.reinterpret(f"float32{lanes}", bits << count)


def by_bits(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Writes a function's casts from bfloat16 and to it by their bits.

    TVM's own legalization leaves those from it as they are when it computes in float32, and then,
    when tensors become tensors of 16-bit integers, takes the integers for numbers; those to it
    make -0 of some NaN.
    """
    body = tvm_ffi.structural_map(function.body, (tirx.Cast, _cast_by_bits), order="post")
    return function if body.same_as(function.body) else function.with_body(body)


def _cast_by_bits(cast: tirx.Cast) -> tirx.Expr:
    source, wanted = str(cast.value.ty.dtype), str(cast.ty.dtype)
    if source.startswith("bfloat16"):
        value = from_bfloat16(cast.value)
        return value if wanted.startswith("float32") else tirx.Cast(wanted, value)
    if wanted.startswith("bfloat16"):
        lanes = wanted.removeprefix("bfloat16")
        value = cast.value
        if not source.startswith("float32"):
            value = tirx.Cast(f"float32{lanes}", value)
        return round_to_bfloat16(value)
    return cast


def in_instructions(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Replaces the operators by instructions, or by integer arithmetic where there are none.

    Call it when TVM's passes are through, with the function's target among its attributes.
    """
    target = function.attrs["target"]
    native = codegen.target_has_features(_FEATURE, target)
    texts: dict[str, str] = {}

    def replacement(call: ir.Call) -> tirx.Expr:
        name = call.op.name if isinstance(call.op, ir.Op) else ""
        if name == _DOT:
            return _called(call, texts, *_dot_function(call))
        if name == _ROUND and native:
            return _called(call, texts, *_round_function(call))
        return _rounded_by_arithmetic(call) if name == _ROUND else call

    body = tvm_ffi.structural_map(function.body, (ir.Call, replacement), order="post")
    for text in texts.values():
        body = statements.AttrStmt(tirx.const(0, "int32"), _IMPORT, tvm.ir.StringImm(text), body)
    return function if body.same_as(function.body) else function.with_body(body)


def _called(call: ir.Call, texts: dict[str, str], name: str, text: str) -> tirx.Expr:
    texts[name] = text
    return tirx.call_pure_extern(call.ty.dtype, name, *call.args)


def _dot_function(call: ir.Call) -> tuple[str, str]:
    lanes = call.ty.dtype.lanes
    name = f"ingot_dot_bfloat16x{lanes}"
    fields = {"n": lanes, "m": 2 * lanes, "name": name, "intrinsic": _INTRINSICS[lanes]}
    return name, _DOT_TEXT.format(**fields)


def _round_function(call: ir.Call) -> tuple[str, str]:
    lanes = call.ty.dtype.lanes
    name = f"ingot_round_to_bfloat16x{lanes}"
    types = {"bits": "i16", "floats": "float", "rounded": "bfloat"}
    if lanes > 1:
        types = {key: f"<{lanes} x {kind}>" for key, kind in types.items()}
    return name, _ROUND_TEXT.format(name=name, **types)


def _rounded_by_arithmetic(call: ir.Call) -> tirx.Expr:
    """Adds what rounds the lower half of the bits away; NaN, whose bits may overflow, is apart."""
    (value,) = call.args
    lanes = call.ty.dtype.lanes

    def every(number: int) -> tirx.Expr:
        constant = tirx.IntImm("uint32", number)
        return constant if lanes == 1 else tirx.Broadcast(constant, lanes)

    kind = "uint32" if lanes == 1 else f"uint32x{lanes}"
    once = tirx.Var("value", value.ty)
    bits = tirx.reinterpret(kind, once)
    odd = (bits >> every(16)) & every(1)
    rounded = (bits + odd + every(0x7FFF)) >> every(16)
    chosen = tirx.Select(tirx.isnan(once), every(_NAN_BITS), rounded)
    return tirx.Let(once, value, tirx.Cast(str(call.ty.dtype), chosen))
