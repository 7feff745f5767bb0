"""PyTorch's ``.pth`` files, without PyTorch and without running what they contain.

A checkpoint is a pickle, and a pickle may name any callable. The unpickler here knows tensors,
ordered dictionaries and plain Python values; it refuses all else. Both layouts are read: the zip
archive (PyTorch >= 1.6) and the older sequence of pickles followed by the raw storages.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import pickle
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ingot.errors import ModelError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


def read_pth(file: BinaryIO, name: str) -> dict[str, npt.NDArray[Any]]:
    """Reads a state dictionary.

    Args:
        file: The checkpoint, seekable.
        name: What error messages call it.

    Returns:
        The tensors by name, in the file's order; each an array of its own.

    Raises:
        ModelError: The file is damaged, asks for anything but tensors, or holds no state
            dictionary.
    """
    try:
        state = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise ModelError(f"{name} holds no state dictionary; give a checkpoint of weights only")
        tensors = {key: value for key, value in state.items() if isinstance(value, _Tensor)}
        if len(tensors) != len(state):
            other = next(key for key in state if key not in tensors)
            raise ModelError(f"{name}: {other!r} is no tensor; give a checkpoint of weights only")
        return {key: tensor.array() for key, tensor in tensors.items()}
    except _Refused as error:
        raise ModelError(
            f"{name} was refused: {error}; give a checkpoint of weights only"
        ) from error
    except _DAMAGE as error:
        raise ModelError(f"{name} is damaged or no PyTorch checkpoint: {error}") from error


# What the pickle machine and the zip reader raise on bytes that make no sense.
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    MemoryError,  # a damaged length of 2 ** 56 bytes, say
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    RuntimeError,
)


class _Refused(Exception):  # noqa: N818 - it never leaves this module
    """The pickle asks for something that is no part of a tensor."""


@dataclasses.dataclass
class _Storage:
    """A block of numbers that tensors are views of; filled after the pickle was read."""

    dtype: np.dtype[Any]
    size: int
    data: npt.NDArray[Any] | None = None


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> npt.NDArray[Any]:
        """Copies the view out of its storage, whose bounds it may not leave."""
        data = self.storage.data
        if data is None:
            raise ValueError("a tensor without its storage")
        if (
            len(self.shape) != len(self.strides)
            or min((self.offset, *self.shape, *self.strides)) < 0
        ):
            raise ValueError("a tensor of impossible shape")
        if 0 in self.shape:
            return np.zeros(self.shape, data.dtype)
        last = self.offset + sum(
            (n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)
        )
        if last >= data.size:
            raise ValueError("a tensor that reaches beyond its storage")
        steps = tuple(stride * data.itemsize for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, steps)
        return np.array(view)


@dataclasses.dataclass(frozen=True, slots=True)
class _StorageType:
    """Stands for a class such as ``torch.FloatStorage``; it cannot be called or changed."""

    dtype: np.dtype[Any]


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors, whose storages it collects by key."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns an allowed name, or refuses.

        The functions are given as bound methods, on which a pickle can set no attribute.
        """
        allowed = {
            "collections.OrderedDict": collections.OrderedDict,
            "torch._utils._rebuild_tensor_v2": self._rebuild_tensor,
            "torch._utils._rebuild_parameter": self._rebuild_parameter,
        }
        path = f"{module}.{name}"
        if path in allowed:
            return allowed[path]
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        raise _Refused(f"it asks for {path}, which is no tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the storage ``('storage', type, key, device, size, ...)``."""
        kind, storage_type, key, _, size, *view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise _Refused(f"it refers to {kind!r}, which is no storage")
        if any(part is not None for part in view):
            raise _Refused("it holds a view of a storage, as PyTorch before 0.4 wrote it")
        return self.storages.setdefault(key, _Storage(storage_type.dtype, int(size)))

    def _rebuild_tensor(
        self, storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
    ) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor without a storage")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))

    def _rebuild_parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [n for n in names if n.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError("its archive has no data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("it is big-endian")
        unpickler = _TensorUnpickler(io.BytesIO(archive.read(f"{root}data.pkl")))
        state = unpickler.load()
        for key, storage in unpickler.storages.items():
            raw = archive.read(f"{root}data/{key}")
            storage.data = np.frombuffer(raw, storage.dtype, storage.size)
    return state


def _read_legacy(file: BinaryIO) -> Any:
    file.seek(0)
    if _TensorUnpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("wrong magic number")
    if _TensorUnpickler(file).load() != _LEGACY_PROTOCOL:
        raise ValueError("unknown protocol version")
    if not _TensorUnpickler(file).load().get("little_endian", True):
        raise ValueError("it is big-endian")
    unpickler = _TensorUnpickler(file)
    state = unpickler.load()
    for key in _TensorUnpickler(file).load():
        storage = unpickler.storages[key]
        (size,) = struct.unpack("<q", file.read(8))
        if size != storage.size:
            raise ValueError(f"storage {key} holds {size} numbers instead of {storage.size}")
        raw = file.read(size * storage.dtype.itemsize)
        storage.data = np.frombuffer(raw, storage.dtype, size)
    return state
