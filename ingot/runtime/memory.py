"""Mapping memory by the system's own calls, where Python's ``mmap`` does not go."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

_FIXED = 0x10  # MAP_FIXED
_NO_RESERVE = 0x4000  # MAP_NORESERVE
_MAY_MOVE, _TO_ADDRESS = 1, 2  # MREMAP_MAYMOVE, MREMAP_FIXED
_FAILED = ctypes.c_void_p(-1).value
_READ_LIMIT = 1 << 30

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64,
]  # fmt: skip
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p,
]  # fmt: skip
_libc.munmap.restype = ctypes.c_int
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def map_file(descriptor: int, offset: int, length: int) -> int:
    """Maps a part of a file privately and returns its address; the offset is one of a page.

    Raises:
        MemoryError: The address space has no room for it.
        OSError: The file cannot be mapped.
    """
    return _map(None, length, mmap.MAP_PRIVATE, descriptor, offset)


def replace_by_copy(address: int, length: int, descriptor: int, offset: int) -> bool:
    """Puts a copy of a part of a file where it is mapped: at once, so that readers see no seam.

    Args:
        address: Where it is mapped.
        length: Bytes that are mapped, whole pages.
        descriptor: The file.
        offset: Where the part begins in it.

    Returns:
        Whether the file could be read up to its last mapped byte.

    Raises:
        MemoryError: There is no room for the copy.
        OSError: The file cannot be read.
    """
    copy = _map(None, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    try:
        whole = _fill(copy, length, descriptor, offset)
    except OSError:
        unmap(copy, length)
        raise
    moved = _libc.mremap(copy, length, length, _MAY_MOVE | _TO_ADDRESS, address)
    if moved == _FAILED:
        unmap(copy, length)
        raise MemoryError
    return whole


def replace_by_zeros(address: int, length: int) -> None:
    """Puts zeros in the place of what is mapped, which takes no memory."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _FIXED | _NO_RESERVE
    _map(address, length, flags, -1, 0)


def unmap(address: int, length: int) -> None:
    """Ends a mapping."""
    _libc.munmap(address, length)


def _map(address: int | None, length: int, flags: int, descriptor: int, offset: int) -> int:
    access = mmap.PROT_READ | mmap.PROT_WRITE
    mapped: int = _libc.mmap(address, length, access, flags, descriptor, offset)
    if mapped != _FAILED:
        return mapped
    number = ctypes.get_errno()
    if number == errno.ENOMEM:
        raise MemoryError
    raise OSError(number, os.strerror(number))


def _fill(address: int, length: int, descriptor: int, offset: int) -> bool:
    """Reads a part of a file to an address; returns whether the file reaches its last page."""
    memory = memoryview((ctypes.c_ubyte * length).from_address(address)).cast("B")
    position = 0
    while position < length:
        part = memory[position : position + _READ_LIMIT]
        count = os.preadv(descriptor, [part], offset + position)
        if not count:
            break
        position += count
    return length - position < mmap.PAGESIZE
