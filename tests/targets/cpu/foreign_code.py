"""Code for processors that this machine is not, run on it.

LLVM's intermediate code for another x86 processor, its schedule and the width of its vectors as
they are there, is turned into this machine's instructions. AVX-512's multiply-add instructions are
replaced by what their manufacturer says they compute (Intel 64 and IA-32 Architectures Software
Developer's Manual, volume 2), AMX's by functions in C (``amx_tiles.c``); LLVM splits all other
operations on wide vectors itself. Untested remains LLVM's choice of instructions for the other
processor.
"""

from __future__ import annotations

import ctypes
import functools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import tvm

from ingot.runtime.cpu_features import machine_architecture, missing_features
from ingot.targets.cpu.machine import CpuDescription, describe_cpu

_FOREIGN = re.compile(r"@(llvm\.x86\.avx512[\w.]*)\(")
_TILES = re.compile(
    r"@llvm\.x86\.(ldtilecfg|tilerelease|tileloadd64|tilestored64|tilezero|tdpbusd|tdpbf16ps)\("
)
_ROUNDED = re.compile(r"= fptrunc (?:<(\d+) x float>|float) ")
_TILES_SOURCE = Path(__file__).with_name("amx_tiles.c")


def runs_here(cpu: CpuDescription) -> bool:
    """Whether this machine has all that code for a processor needs."""
    return cpu.architecture == machine_architecture() and not missing_features(cpu.features)


def translated(code: tvm.runtime.Module, cpu: CpuDescription) -> tvm.runtime.Module:
    """Returns LLVM's module for another x86 processor as code for this machine.

    Raises:
        NotImplementedError: It has an instruction of AVX-512 that is not described here.
    """
    here = describe_cpu("native", threads=1)
    text = code.inspect_source("ll")
    for name in sorted(set(_FOREIGN.findall(text))):
        text = _with_definition(text, name)
    for shape in sorted(set(_ROUNDED.findall(text))):
        text = _with_rounding(text, int(shape or 1))
    if _TILES.search(text):
        _load_tiles()
        text = _TILES.sub(r"@described_\1(", text).replace(" immarg", "")
    lacking = ",".join(f"-{feature}" for feature in here.disabled)
    text = re.sub(r'"target-features"(="[^"]*")?', "", text)
    attributes = f'"target-cpu"="{here.mcpu}" "target-features"="{lacking}"'
    text = re.sub(r'"target-cpu"="[^"]*"', attributes, text)
    # TVM keeps its target in the module, as JSON in a string of LLVM's.
    text = text.replace(rf"\22mcpu\22:\22{cpu.mcpu}\22", rf"\22mcpu\22:\22{here.mcpu}\22")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code.ll"
        path.write_text(text)
        return tvm.runtime.load_module(str(path))


@functools.cache
def _load_tiles() -> None:
    """Loads the functions that stand for AMX's instructions; LLVM finds them by their names."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "amx_tiles.so"
        subprocess.run(
            [
                sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-O1",
                "-fno-sanitize=all", "-o", str(library), str(_TILES_SOURCE),
            ],
            check=True,
        )  # fmt: skip
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _with_definition(text: str, name: str) -> str:
    """Puts a function in place of an intrinsic's declaration."""
    operation, _, bits = re.sub(r"^llvm\.x86\.avx512\w*\.", "", name).rpartition(".")
    if operation not in _OPERATIONS:
        raise NotImplementedError(f"{name} is not described in {__file__}")
    function = f"described.{name}"
    text = re.sub(rf"^declare [^\n]*@{re.escape(name)}\([^\n]*\n", "", text, flags=re.MULTILINE)
    text = text.replace(f"@{name}(", f"@{function}(")
    return text + _OPERATIONS[operation](function, int(bits))


def _with_rounding(text: str, lanes: int) -> str:
    """Puts a function in place of rounding to bfloat16, which LLVM leaves to a library."""

    def of(kind: str) -> str:
        return kind if lanes == 1 else f"<{lanes} x {kind}>"

    def every(number: int) -> str:
        return str(number) if lanes == 1 else f"splat (i32 {number})"

    function = f"described.round.{lanes}"
    floats, words, rounded = of("float"), of("i32"), of("bfloat")
    text = re.sub(
        rf"= fptrunc {re.escape(floats)} (\S+) to {re.escape(rounded)}",
        rf"= call {rounded} @{function}({floats} \1)",
        text,
    )
    return (
        text
        + f"""
define internal {rounded} @{function}({floats} %a) {{
  %bits = bitcast {floats} %a to {words}
  %shifted = lshr {words} %bits, {every(16)}
  %odd = and {words} %shifted, {every(1)}
  %half = add {words} %odd, {every(0x7FFF)}
  %sum = add {words} %bits, %half
  %upper = lshr {words} %sum, {every(16)}
  %is.nan = fcmp uno {floats} %a, %a
  %chosen = select {of("i1")} %is.nan, {words} {every(0x7FC0)}, {words} %upper
  %narrow = trunc {words} %chosen to {of("i16")}
  %result = bitcast {of("i16")} %narrow to {rounded}
  ret {rounded} %result
}}
"""
    )


def _dpbf16ps(function: str, bits: int) -> str:
    """Adds the products of two pairs of bfloat16 to each float32, the odd ones first."""
    lanes, result = bits // 32, f"<{bits // 32} x float>"
    pairs = f"<{2 * lanes} x bfloat>"
    lines = []
    for name in "ab":
        lines.append(f"  %wide.{name} = fpext {pairs} %{name} to <{2 * lanes} x float>")
        for place in range(2):
            mask = ", ".join(f"i32 {index}" for index in range(place, 2 * lanes, 2))
            lines.append(
                f"  %{name}{place} = shufflevector <{2 * lanes} x float> %wide.{name}, "
                f"<{2 * lanes} x float> poison, <{lanes} x i32> <{mask}>"
            )
    body = "\n".join(lines)
    return f"""
define internal {result} @{function}({result} %sum, {pairs} %a, {pairs} %b) {{
{body}
  %product1 = fmul {result} %a1, %b1
  %sum1 = fadd {result} %sum, %product1
  %product0 = fmul {result} %a0, %b0
  %sum0 = fadd {result} %sum1, %product0
  ret {result} %sum0
}}
"""


def _products(bits: int, of: str, groups: int) -> str:
    """Products of the elements of %a and %b in 32 bits, each in one of several groups' places."""
    count = bits // int(of[1:])
    first = "zext" if of == "i8" else "sext"
    lines = [
        f"  %wide.a = {first} <{count} x {of}> %a to <{count} x i32>",
        f"  %wide.b = sext <{count} x {of}> %b to <{count} x i32>",
        f"  %products = mul <{count} x i32> %wide.a, %wide.b",
    ]
    for place in range(groups):
        mask = ", ".join(f"i32 {index}" for index in range(place, count, groups))
        lines.append(
            f"  %part{place} = shufflevector <{count} x i32> %products, <{count} x i32> poison, "
            f"<{count // groups} x i32> <{mask}>"
        )
    return "\n".join(lines)


def _vpdpbusd(function: str, bits: int) -> str:
    """Adds four products of unsigned and signed bytes to each 32-bit lane."""
    lanes, result = bits // 32, f"<{bits // 32} x i32>"
    return f"""
define internal {result} @{function}({result} %sum, <{4 * lanes} x i8> %a, <{4 * lanes} x i8> %b) {{
{_products(bits, "i8", 4)}
  %sum0 = add {result} %sum, %part0
  %sum1 = add {result} %sum0, %part1
  %sum2 = add {result} %sum1, %part2
  %sum3 = add {result} %sum2, %part3
  ret {result} %sum3
}}
"""


def _pmaddubs(function: str, bits: int) -> str:
    """Adds pairs of products of unsigned and signed bytes in 16 bits, with saturation."""
    lanes = bits // 16
    wide, result = f"<{lanes} x i32>", f"<{lanes} x i16>"
    return f"""
define internal {result} @{function}(<{2 * lanes} x i8> %a, <{2 * lanes} x i8> %b) {{
{_products(bits, "i8", 2)}
  %sum = add {wide} %part0, %part1
  %is.small = icmp slt {wide} %sum, splat (i32 32767)
  %bounded = select <{lanes} x i1> %is.small, {wide} %sum, {wide} splat (i32 32767)
  %is.large = icmp sgt {wide} %bounded, splat (i32 -32768)
  %saturated = select <{lanes} x i1> %is.large, {wide} %bounded, {wide} splat (i32 -32768)
  %narrow = trunc {wide} %saturated to {result}
  ret {result} %narrow
}}
"""


def _pmaddw(function: str, bits: int) -> str:
    """Adds pairs of products of signed 16-bit integers in 32 bits."""
    lanes, result = bits // 32, f"<{bits // 32} x i32>"
    return f"""
define internal {result} @{function}(<{2 * lanes} x i16> %a, <{2 * lanes} x i16> %b) {{
{_products(bits, "i16", 2)}
  %sum = add {result} %part0, %part1
  ret {result} %sum
}}
"""


def _pack(of: int, to: int, low: int, high: int, function: str, bits: int) -> str:
    """Narrows two vectors with saturation; their 128-bit groups take turns in the result."""
    lanes, each = bits // of, 128 // of
    wide, narrow, result = f"<{lanes} x i{of}>", f"<{lanes} x i{to}>", f"<{2 * lanes} x i{to}>"
    lines = []
    for name in "ab":
        lines += [
            f"  %small.{name} = icmp slt {wide} %{name}, splat (i{of} {high})",
            f"  %bounded.{name} = select <{lanes} x i1> %small.{name}, {wide} %{name}, "
            f"{wide} splat (i{of} {high})",
            f"  %large.{name} = icmp sgt {wide} %bounded.{name}, splat (i{of} {low})",
            f"  %saturated.{name} = select <{lanes} x i1> %large.{name}, {wide} %bounded.{name}, "
            f"{wide} splat (i{of} {low})",
            f"  %narrow.{name} = trunc {wide} %saturated.{name} to {narrow}",
        ]
    order = [
        vector * lanes + group * each + lane
        for group in range(bits // 128)
        for vector in range(2)
        for lane in range(each)
    ]
    mask = ", ".join(f"i32 {index}" for index in order)
    return "\n".join(
        [
            f"define internal {result} @{function}({wide} %a, {wide} %b) {{",
            *lines,
            f"  %packed = shufflevector {narrow} %narrow.a, {narrow} %narrow.b, "
            f"<{2 * lanes} x i32> <{mask}>",
            f"  ret {result} %packed",
            "}",
            "",
        ]
    )


_OPERATIONS = {
    "dpbf16ps": _dpbf16ps,
    "vpdpbusd": _vpdpbusd,
    "pmaddubs.w": _pmaddubs,
    "pmaddw.d": _pmaddw,
    "packssdw": functools.partial(_pack, 32, 16, -(2**15), 2**15 - 1),
    "packuswb": functools.partial(_pack, 16, 8, 0, 255),
    "packsswb": functools.partial(_pack, 16, 8, -128, 127),
}
