"""GPUs of the machine: NVIDIA's by NVML, AMD's by what their driver writes to ``/sys``.

NVML: <https://docs.nvidia.com/deploy/nvml-api/>.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

from ingot.runtime.statistics.figures import Gpu, Unavailable

NVML = "libnvidia-ml.so.1"
_NAME_BYTES = 96
_CARD = re.compile(r"card\d+")


class _Utilization(ctypes.Structure):
    """``nvmlUtilization_t``."""

    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class _MemoryInfo(ctypes.Structure):
    """``nvmlMemory_t``."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class GpuReader:
    """Reads the GPUs' figures; the driver's library is loaded at the first reading."""

    def __init__(self, root: Path = Path("/"), library: str = NVML) -> None:
        """Takes where ``/sys`` is, and the library's name or path."""
        self._root, self._library_name = root, library
        self._library: ctypes.CDLL | Unavailable | None = None

    def read(self) -> tuple[Gpu, ...] | Unavailable:
        """The GPUs of this machine, or why there are none."""
        if self._library is None:
            self._library = _load(self._library_name)
        found = list(_amd(self._root))
        if isinstance(self._library, Unavailable):
            return tuple(found) or self._library
        nvidia = _nvidia(self._library)
        if isinstance(nvidia, Unavailable):
            return tuple(found) or nvidia
        return (*nvidia, *found)


def _load(name: str) -> ctypes.CDLL | Unavailable:
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return Unavailable(f"no GPU whose driver tells: there is no {NVML}, and none of AMD's")
    if failed := library.nvmlInit_v2():
        return Unavailable(f"NVIDIA's driver does not answer: {_error(library, failed)}")
    return library


def _nvidia(library: ctypes.CDLL) -> list[Gpu] | Unavailable:
    count = ctypes.c_uint()
    if failed := library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return Unavailable(f"NVIDIA's driver counts no GPUs: {_error(library, failed)}")
    if not count.value:
        return Unavailable("NVIDIA's driver has no GPU")
    gpus = []
    for index in range(count.value):
        gpu = _nvidia_gpu(library, index)
        if isinstance(gpu, Unavailable):
            return gpu
        gpus.append(gpu)
    return gpus


def _nvidia_gpu(library: ctypes.CDLL, index: int) -> Gpu | Unavailable:
    device = ctypes.c_void_p()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    busy, memory, milliwatts = _Utilization(), _MemoryInfo(), ctypes.c_uint()
    for failed in (
        library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)),
        library.nvmlDeviceGetName(device, name, _NAME_BYTES),
        library.nvmlDeviceGetUtilizationRates(device, ctypes.byref(busy)),
    ):
        if failed:
            return Unavailable(f"GPU {index} does not tell: {_error(library, failed)}")
    has_memory = not library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
    has_power = not library.nvmlDeviceGetPowerUsage(device, ctypes.byref(milliwatts))
    return Gpu(
        index=index,
        name=name.value.decode(errors="replace"),
        percent=float(busy.gpu),
        memory_used=memory.used if has_memory else None,
        watts=milliwatts.value / 1e3 if has_power else None,
    )


def _error(library: Any, code: int) -> str:
    library.nvmlErrorString.restype = ctypes.c_char_p
    text: bytes = library.nvmlErrorString(code)
    return text.decode(errors="replace")


def _amd(root: Path) -> list[Gpu]:
    folder = root / "sys/class/drm"
    cards = sorted(folder.iterdir()) if folder.is_dir() else []
    gpus = []
    for card in cards:
        device = card / "device"
        if not _CARD.fullmatch(card.name):
            continue
        busy = _number(device / "gpu_busy_percent")
        if busy is None:
            continue
        memory = _number(device / "mem_info_vram_used")
        gpus.append(
            Gpu(
                index=int(card.name.removeprefix("card")),
                name="amdgpu",
                percent=busy,
                memory_used=None if memory is None else int(memory),
                watts=_amd_watts(device),
            )
        )
    return gpus


def _amd_watts(device: Path) -> float | None:
    for pattern in ("hwmon/*/power1_average", "hwmon/*/power1_input"):
        for path in device.glob(pattern):
            microwatts = _number(path)
            if microwatts is not None:
                return microwatts / 1e6
    return None


def _number(path: Path) -> float | None:
    """What a file of the driver says; None where it has none, or the GPU is asleep."""
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
