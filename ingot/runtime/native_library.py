"""The runtime's own library (``native/``) as Python calls it.

It is loaded once in a process. Every call releases the interpreter's lock, so that sessions run
side by side.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from ingot.errors import ArtifactError, first_line
from ingot.runtime.cpu_features import machine_architecture

# Of what the library offers; native/program.h has the same.
_VERSION = 1

_POINTER = ctypes.c_void_p


class Tensor(ctypes.Structure):
    """A tensor as DLPack describes it; its data and shape may be read and set."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_number", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Its dimensions."""
        return tuple(self.shape[axis] for axis in range(self.rank))


TENSORS = ctypes.POINTER(ctypes.POINTER(Tensor))

REGION_CALL = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int32, ctypes.c_int32, TENSORS, ctypes.c_int32, TENSORS
)
"""What runs a region: its number, its inputs, and its outputs, whose data and shape it sets."""


class NativeProgram(ctypes.Structure):
    """A program; what its pointers name has to outlive it."""

    _fields_ = [
        ("words", ctypes.c_void_p),
        ("word_count", ctypes.c_int64),
        ("kernels", ctypes.c_void_p),
        ("kernel_count", ctypes.c_int32),
        ("ranks", ctypes.c_void_p),
        ("tensor_count", ctypes.c_int32),
        ("input_count", ctypes.c_int32),
        ("storage_count", ctypes.c_int32),
        ("slot_count", ctypes.c_int32),
        ("most_arguments", ctypes.c_int32),
        ("scratch_bytes", ctypes.c_int64),
    ]


class Settings(ctypes.Structure):
    """How a context executes."""

    _fields_ = [
        ("pool", ctypes.c_void_p),
        ("call_region", REGION_CALL),
        ("memory_limit", ctypes.c_int64),
        ("threads", ctypes.c_int32),
        ("arena_flags", ctypes.c_int32),
        ("caller_core", ctypes.c_int32),
    ]


class Figures(ctypes.Structure):
    """What a context says of itself."""

    _fields_ = [
        ("need", ctypes.c_int64),
        ("mapped", ctypes.c_int64),
        ("planned_whole", ctypes.c_int32),
        ("event_count", ctypes.c_int32),
    ]


class Status:
    """What a call of the library returns; ``native/program.h`` has the same."""

    DONE = 0
    REFUSED = 1
    BEYOND_LIMIT = 2
    NO_MEMORY = 3
    KERNEL_FAILED = 4
    REGION_FAILED = 5
    WRITTEN_OUTSIDE = 6
    DAMAGED = 7


HUGE_PAGES, GUARDED = 1, 2
"""Flags of an arena."""

_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "ingot_pool_create": (_POINTER, [_POINTER, ctypes.c_int32, ctypes.c_int64]),
    "ingot_pool_destroy": (None, [_POINTER]),
    "ingot_pool_grow": (ctypes.c_int32, [_POINTER, ctypes.c_int32]),
    "ingot_context_create": (_POINTER, [_POINTER]),
    "ingot_context_destroy": (None, [_POINTER]),
    "ingot_context_configure": (None, [_POINTER, ctypes.POINTER(Settings)]),
    "ingot_context_tensor": (ctypes.POINTER(Tensor), [_POINTER, ctypes.c_int32]),
    "ingot_context_time": (None, [_POINTER, _POINTER, ctypes.c_int32]),
    "ingot_context_figures": (None, [_POINTER, ctypes.POINTER(Figures)]),
    "ingot_context_message": (ctypes.c_char_p, [_POINTER]),
    "ingot_plan": (ctypes.c_int, [_POINTER, _POINTER, _POINTER]),
    "ingot_prepare": (ctypes.c_int, [_POINTER]),
    "ingot_execute": (ctypes.c_int, [_POINTER, _POINTER, _POINTER]),
    "ingot_version": (ctypes.c_int32, []),
}


def library_path() -> Path:
    """Returns where the library for this machine is."""
    return Path(__file__).parent / "lib" / f"libingot-{machine_architecture()}.so"


@functools.cache
def native_library() -> ctypes.CDLL:
    """Returns the library, loaded.

    Raises:
        ArtifactError: It is missing, of another version of Ingot, or cannot be loaded.
    """
    path = library_path()
    if not path.is_file():
        raise ArtifactError(
            f"the runtime's library {path.name} is missing from this installation: reinstall ingot "
            "from its wheel, or build it in a source tree with `python build_support/native.py`"
        )
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        version = library.ingot_version()
    except (OSError, AttributeError) as error:
        raise ArtifactError(
            f"the runtime's library {path.name} cannot be loaded: {first_line(error)}"
        ) from error
    if version != _VERSION:
        raise ArtifactError(
            f"the runtime's library {path.name} is of another version of ingot: reinstall ingot, "
            "or build it in a source tree with `python build_support/native.py`"
        )
    return library


def address_of(function: object) -> int:
    """Returns the address of a function of a library."""
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address
