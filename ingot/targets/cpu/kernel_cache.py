"""Machine code of kernels, kept from build to build.

A kernel is found again by a digest of what its code follows from: its loops as they are before
anything is written for them, without its name, the processor's description, the versions of TVM and
the source of what generates code. What is damaged counts for nothing: it can always be generated
again, to the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import os
from collections.abc import Iterable
from pathlib import Path

import tvm
from tvm import tirx

from ingot import targets
from ingot.cached import DamagedCacheError, read_entry, write_entry
from ingot.errors import IngotError, UsageError
from ingot.files import cache_dir
from ingot.runtime.alignment import CALLERS_ALIGNMENT
from ingot.targets.cpu.machine import CpuDescription

SIZE_VARIABLE = "INGOT_KERNEL_CACHE_MIB"
"""The environment variable that says how much is kept, in MiB; 0 keeps and reads nothing."""

_TOOLS = ("ingot", "apache-tvm", "apache-tvm-ffi")
# How much is kept where the variable says nothing.
_DEFAULT_MIB = 256
_NAME = "global_symbol"
_SUFFIX = ".kernel"
# Removing stops at this part of what may be kept, so that not every build has to.
_KEPT_PART = 0.9
_AS_LOOPS, _WRITTEN = b"l", b"w"


@dataclasses.dataclass(frozen=True)
class KernelCode:
    """Machine code of a kernel.

    Attributes:
        object: The object file.
        scheduled: Whether a kernel was written, and not left as the loops that it was.
    """

    object: bytes
    scheduled: bool


class KernelCache:
    """Kernels in a folder.

    Args:
        folder: Where they are kept; made when something is stored.
        limit: How much is kept, in bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._stored = False

    @classmethod
    def of_user(cls) -> KernelCache | None:
        """Returns the user's; None where it is switched off.

        Raises:
            UsageError: The variable that sets its size holds no size.
        """
        stated = os.environ.get(SIZE_VARIABLE) or str(_DEFAULT_MIB)
        if not stated.isascii() or not stated.isdecimal():
            raise UsageError(
                f"${SIZE_VARIABLE} is {stated!r}: give a whole number of MiB, or 0 to keep nothing"
            )
        limit = int(stated) << 20
        return cls(cache_dir() / "kernels", limit) if limit else None

    def load(self, digest: str) -> KernelCode | None:
        """Returns a kernel's code; None where there is none that is as it was stored."""
        path = self._path(digest)
        with contextlib.suppress(DamagedCacheError):
            content = read_entry(path)
            if content is not None and content[:1] in (_AS_LOOPS, _WRITTEN):
                with contextlib.suppress(OSError):
                    os.utime(path)  # removed are those that nobody used for longest
                return KernelCode(content[1:], content[:1] == _WRITTEN)
        return None

    def store(self, digest: str, code: KernelCode) -> None:
        """Keeps a kernel's code; where nothing can be written, the next build generates it."""
        with contextlib.suppress(IngotError):
            kind = _WRITTEN if code.scheduled else _AS_LOOPS
            write_entry(self._path(digest), kind + code.object)
            self._stored = True

    def tidy(self) -> None:
        """Removes what was not used for longest, where more is kept than may be."""
        if not self._stored:
            return
        self._stored = False
        kept = []
        for path in self._folder.glob(f"*/*{_SUFFIX}"):
            with contextlib.suppress(OSError):  # another build may have removed it
                status = path.stat()
                kept.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in kept)
        if total <= self._limit:
            return
        for _, size, path in sorted(kept):
            if total <= _KEPT_PART * self._limit:
                break
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            total -= size

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}{_SUFFIX}"


def kernel_digests(functions: Iterable[tirx.PrimFunc], cpu: CpuDescription) -> list[str]:
    """Returns digests of what the machine code of prim funcs follows from; names do not count."""
    common = hashlib.sha256(_generator_digest())
    common.update(f"{cpu!r}\0{cpu.tvm_target()}\0{CALLERS_ALIGNMENT}\0".encode())
    digests = []
    for function in functions:
        nameless = function.without_attr(_NAME) if _NAME in (function.attrs or {}) else function
        digest = common.copy()
        digest.update(tvm.ir.save_json(nameless).encode())
        digests.append(digest.hexdigest())
    return digests


@functools.cache
def _generator_digest() -> bytes:
    """Digest of what generates code: a change of it is a new version."""
    digest = hashlib.sha256()
    for tool in _TOOLS:
        digest.update(f"{tool}\0{importlib.metadata.version(tool)}\0".encode())
    (folder,) = map(Path, targets.__path__)
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\0".encode())
        digest.update(file.read_bytes())
    return digest.digest()
