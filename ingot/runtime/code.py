"""Loading an artifact's code: a shared library of kernels, and the program that uses them."""

from __future__ import annotations

import _ctypes
import ctypes
import itertools
import os
import weakref

from ingot.errors import ArtifactError, first_line
from ingot.runtime.manifest import NPU_PREFIX, REGION_PREFIX, Manifest
from ingot.runtime.native_library import NativeProgram, address_of, native_library
from ingot.runtime.program import (
    KERNEL_PREFIX,
    PROGRAM_SYMBOL,
    RAISE_POINTER,
    Program,
    as_words,
)

# The code's variables for functions that the process which loads it provides, and ours for them.
_PROVIDED = {
    "__TVMBackendParallelLaunch": "ingot_parallel_launch",
    "__TVMBackendAllocWorkspace": "ingot_workspace_alloc",
    "__TVMBackendFreeWorkspace": "ingot_workspace_free",
    "__TVMFFIEnvModLookupFromImports": "ingot_lookup",
    "__TVMFFIFunctionCall": "ingot_call",
    "__TVMFFIHandleInitOnce": "ingot_init_once",
    RAISE_POINTER: "ingot_raise_parts",
}
_MAY_BE_EXECUTED = 0x10  # MFD_EXEC
_loads = itertools.count()
_COUNTED_BITS = 40


class Code:
    """An artifact's code, ready to be executed by any number of contexts.

    Attributes:
        program: What the code says of itself.
        native: The same as the runtime's library takes it.
    """

    def __init__(self, contents: memoryview) -> None:
        """Loads the bytes of a shared library.

        Raises:
            ArtifactError: It cannot be loaded on this machine, or is damaged.
        """
        library = native_library()
        handle = _load(contents)
        # Unloaded once nothing refers to this object any more: contexts do.
        weakref.finalize(self, _ctypes.dlclose, handle._handle)
        for variable, function in _PROVIDED.items():
            try:
                pointer = ctypes.c_void_p.in_dll(handle, variable)
            except ValueError:
                continue  # the code does not use it
            pointer.value = address_of(getattr(library, function))
        self.program = Program.from_json(_text(handle))
        self._words = as_words(self.program.words)
        self._ranks = (ctypes.c_int32 * len(self.program.ranks))(*self.program.ranks)
        self._kernels = _kernels(handle, self.program)
        self.native = NativeProgram(
            words=ctypes.addressof(self._words),
            word_count=len(self._words),
            kernels=ctypes.addressof(self._kernels),
            kernel_count=len(self._kernels),
            ranks=ctypes.addressof(self._ranks),
            tensor_count=len(self._ranks),
            input_count=len(self.program.interface.inputs),
            storage_count=self.program.storages,
            slot_count=self.program.slots,
            most_arguments=self.program.most_arguments,
            scratch_bytes=self.program.scratch,
        )

    def check(self, manifest: Manifest) -> None:
        """Holds a manifest against the code.

        Raises:
            ArtifactError: The code takes or gives something else than the manifest says, or calls a
                region that it does not list.
        """
        self.program.interface.check(manifest)
        for called in self.program.regions:
            name = called.removeprefix(REGION_PREFIX).removeprefix(NPU_PREFIX)
            if name not in manifest.regions:
                raise ArtifactError(
                    f"the artifact is damaged: its code calls region {name}, which its manifest "
                    "does not have; compile it again"
                )


def _load(contents: memoryview) -> ctypes.CDLL:
    """Loads a shared library by way of a file in memory, which has no name that anyone sees."""
    try:
        descriptor = _executable_memory()
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(contents)
            return ctypes.CDLL(_unused_name(descriptor))
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = first_line(error).split(": ", 1)[-1]
        raise ArtifactError(f"the artifact's code cannot be loaded: {reason}") from error


def _executable_memory() -> int:
    """Returns the descriptor of a file in memory, which code may be loaded from.

    A system that forbids it unless it is asked for (``vm.memfd_noexec``) is asked; one of before
    Linux 6.3 does not know the question.
    """
    try:
        return os.memfd_create("ingot", os.MFD_CLOEXEC | _MAY_BE_EXECUTED)
    except OSError:
        return os.memfd_create("ingot", os.MFD_CLOEXEC)


def _unused_name(descriptor: int) -> str:
    """Returns a path of a descriptor that this process has not loaded a library by.

    The loader takes a library that it has loaded by the same name for the same one, and descriptors
    are used again. So the path has the bits of a count in it, which lead nowhere else.
    """
    count = next(_loads)
    steps = "".join("./" if count >> bit & 1 else "/" for bit in range(_COUNTED_BITS))
    return f"/proc/self/fd/{steps}{descriptor}"


def _text(handle: ctypes.CDLL) -> bytes:
    try:
        address = ctypes.addressof(ctypes.c_char.in_dll(handle, PROGRAM_SYMBOL))
    except ValueError:
        raise ArtifactError(
            "the artifact's code does not say what it was compiled for: compile it again"
        ) from None
    return ctypes.string_at(address)


def _kernels(handle: ctypes.CDLL, program: Program) -> ctypes.Array[ctypes.c_void_p]:
    addresses = []
    for name in program.kernels:
        try:
            addresses.append(address_of(getattr(handle, KERNEL_PREFIX + name)))
        except AttributeError:
            raise ArtifactError(
                f"the artifact's code is damaged: it has no kernel {name}"
            ) from None
    return (ctypes.c_void_p * len(addresses))(*addresses)
