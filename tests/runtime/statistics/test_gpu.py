"""GPUs as NVIDIA's library tells them, through its real calling convention, and AMD's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ingot.runtime.statistics.figures import Gpu, Unavailable
from ingot.runtime.statistics.gpu import GpuReader

# What the library would be, for two GPUs of which the second tells neither memory nor power.
LIBRARY = """\
typedef struct { unsigned int gpu, memory; } utilization;
typedef struct { unsigned long long total, free, used; } memory;
static int gpus[2];
int nvmlInit_v2(void) { return INIT; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Not Supported"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = &gpus[index];
    return 0;
}
int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    const char *text = device == gpus ? "Big" : "Small";
    for (unsigned int i = 0; i < length; i++)
        if (!(name[i] = text[i])) break;
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *device, utilization *rates) {
    rates->gpu = device == gpus ? 73 : 0;
    rates->memory = 99;
    return UTILIZATION;
}
int nvmlDeviceGetMemoryInfo(void *device, memory *info) {
    info->total = 3ULL << 32; info->free = 1ULL << 32; info->used = 2ULL << 32;
    return device == gpus ? 0 : 3;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    *milliwatts = 412500;
    return device == gpus ? 0 : 3;
}
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory):
    def compiled(init: int = 0, utilization: int = 0) -> str:
        folder = tmp_path_factory.mktemp("nvml")
        (folder / "nvml.c").write_text(LIBRARY)
        subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", "-shared", "-o", "nvml.so", "nvml.c",
             f"-DINIT={init}", f"-DUTILIZATION={utilization}"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        return str(folder / "nvml.so")

    return compiled


def test_gpus_of_nvidia(build, tmp_path: Path) -> None:
    assert GpuReader(tmp_path, build()).read() == (
        Gpu(0, "Big", 73.0, 2 << 32, 412.5),
        Gpu(1, "Small", 0.0, None, None),
    )


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"init": 9}, "NVIDIA's driver does not answer: Driver Not Loaded"),
        ({"utilization": 3}, "GPU 0 does not tell: Not Supported"),
    ],
)
def test_what_the_driver_refuses_is_the_reason(build, tmp_path: Path, answers, reason: str) -> None:
    assert GpuReader(tmp_path, build(**answers)).read() == Unavailable(reason)


def amd(root: Path, card: str, busy: str) -> Path:
    device = root / "sys/class/drm" / card / "device"
    (device / "hwmon/hwmon2").mkdir(parents=True)
    (device / "gpu_busy_percent").write_text(busy)
    (device / "mem_info_vram_used").write_text("1048576\n")
    (device / "hwmon/hwmon2/power1_average").write_text("33000000\n")
    return device


def test_gpus_of_amd(tmp_path: Path) -> None:
    amd(tmp_path, "card1", "42\n")
    amd(tmp_path, "card1-DP-1", "42\n")  # a connector of it
    (tmp_path / "sys/class/drm/card0/device").mkdir(parents=True)  # a GPU of another make
    assert GpuReader(tmp_path, "none.so").read() == (Gpu(1, "amdgpu", 42.0, 1048576, 33.0),)


def test_without_any_the_reason_is_told(tmp_path: Path) -> None:
    found = GpuReader(tmp_path, "none.so").read()
    assert isinstance(found, Unavailable)
    assert "libnvidia-ml.so.1" in found.reason
