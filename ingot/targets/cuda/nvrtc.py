"""NVRTC, NVIDIA's compiler of CUDA C as a library: machine code without a GPU or a toolkit.

The library comes from the wheel ``nvidia-cuda-nvrtc-cu12`` (the extra ``cuda``). Of the releases of
CUDA it is the last of version 12, whose machine code drivers from 525 on load.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from ingot.errors import CompilationError, IngotError, UsageError, first_line

PACKAGE = "nvidia-cuda-nvrtc-cu12"
_MODULE, _LIBRARY = "nvidia.cuda_nvrtc", "libnvrtc.so.12"
# What TVM's prelude includes, as far as it is used: the wheel has no headers.
_HEADERS = {
    b"cuda/std/cstdint": b"""
namespace cuda { namespace std {
typedef signed char int8_t; typedef unsigned char uint8_t;
typedef short int16_t; typedef unsigned short uint16_t;
typedef int int32_t; typedef unsigned int uint32_t;
typedef long long int64_t; typedef unsigned long long uint64_t;
} }
""",
    b"cuda/std/type_traits": b"""
namespace cuda { namespace std {
template <class A, class B> struct is_same { static constexpr bool value = false; };
template <class A> struct is_same<A, A> { static constexpr bool value = true; };
template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
template <class T> struct is_integral; template <class T> struct is_floating_point;
template <class T> struct is_signed; template <class T> struct is_unsigned;
template <bool, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool, class A, class B> struct conditional { typedef A type; };
template <class A, class B> struct conditional<false, A, B> { typedef B type; };
} }
""",
}


def require_extra() -> None:
    """Checks that NVRTC is installed.

    Raises:
        IngotError: It is not; says how to install it.
    """
    _library()


def nvrtc_version() -> str:
    """Returns the version of the wheel, on which machine code depends."""
    require_extra()
    return importlib.metadata.version(PACKAGE)


def compile_source(source: str, architecture: str) -> bytes:
    """Compiles CUDA C to machine code.

    Args:
        source: The text.
        architecture: What for, ``sm_80``.

    Returns:
        A cubin.

    Raises:
        UsageError: NVRTC does not know the architecture; lists those that it knows.
        CompilationError: NVRTC refuses the source.
    """
    return _compiled(source, architecture, "CUBIN")


def compile_to_ptx(source: str, architecture: str) -> str:
    """Compiles CUDA C to PTX, which can be read; see :func:`compile_source`."""
    return _compiled(source, architecture, "PTX").rstrip(b"\0").decode()


def _compiled(source: str, architecture: str, kind: str) -> bytes:
    library = _library()
    if architecture not in (known := _architectures()):
        raise UsageError(
            f"NVRTC makes no code for {architecture!r}; it does for {', '.join(known)}"
        )
    program = ctypes.c_void_p()
    names, texts = (
        (ctypes.c_char_p * len(_HEADERS))(*each) for each in (_HEADERS.keys(), _HEADERS.values())
    )
    _call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kernels.cu",
          len(_HEADERS), texts, names)  # fmt: skip
    try:
        options = [f"--gpu-architecture={architecture}", "--std=c++17", "--disable-warnings"]
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if library.nvrtcCompileProgram(program, len(options), given):
            log = _result("nvrtcGetProgramLog", program).rstrip(b"\0").decode(errors="replace")
            lines = [line for line in log.splitlines() if "error" in line] or [log]
            raise CompilationError(f"NVRTC refuses the code for {architecture}: {lines[0]}")
        return _result(f"nvrtcGet{kind}", program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _architectures() -> list[str]:
    count = ctypes.c_int()
    _call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
    numbers = (ctypes.c_int * count.value)()
    _call("nvrtcGetSupportedArchs", numbers)
    return [f"sm_{number}" for number in numbers]


def _result(name: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _call(f"{name}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(name, program, buffer)
    return buffer.raw


def _call(name: str, *arguments: Any) -> None:
    status = getattr(_library(), name)(*arguments)
    if status:
        text = ctypes.c_char_p(_library().nvrtcGetErrorString(status)).value or b""
        raise CompilationError(f"{name} fails: {text.decode()}")


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        found = importlib.util.find_spec(_MODULE)
    except ModuleNotFoundError:
        found = None
    if found is None or not found.submodule_search_locations:
        raise IngotError(
            "code for NVIDIA GPUs is compiled by NVRTC, which is not installed: "
            "install it with `pip install 'ingot[cuda]'`"
        )
    path = Path(next(iter(found.submodule_search_locations))) / "lib" / _LIBRARY
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise IngotError(f"NVRTC cannot be loaded: {first_line(error)}") from error
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library
