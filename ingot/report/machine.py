"""The machine that a report was made on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from ingot.report.schema import MachineFacts

_CPUINFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_PACKAGES = ("ingot", "apache-tvm", "apache-tvm-ffi", "onnxruntime", "openvino", "onnx", "numpy")

# What decides which kernels an engine picks, by the kernel's names, x86-64 and aarch64.
_FEATURES = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip

_SHARE_OF_BUSY = 0.25


def machine_facts() -> MachineFacts:
    """Reads the facts of this machine, as it is now."""
    info = _cpu_info(_CPUINFO.read_text() if _CPUINFO.exists() else "")
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return MachineFacts(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        features=tuple(feature for feature in _FEATURES if feature in flags),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cpus=psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        governor=_GOVERNOR.read_text().strip() if _GOVERNOR.exists() else None,
        virtual="hypervisor" in flags,
        system=_system(),
        python=platform.python_version(),
        versions=package_versions(),
        load_average=round(os.getloadavg()[0], 2),
    )


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that matter to a measurement."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def machine_warnings(facts: MachineFacts, threads: int) -> list[str]:
    """What about the machine makes times less trustworthy, each in one sentence."""
    warnings = []
    if facts.load_average > _SHARE_OF_BUSY * facts.logical_cpus:
        warnings.append(
            f"The machine was busy before measuring began (load average {facts.load_average:g} on "
            f"{facts.logical_cpus} CPUs): trust the ratios, not the times."
        )
    if facts.governor == "powersave":
        warnings.append(
            "The CPU's frequency governor is 'powersave', which may hold the clock down; "
            "'performance' gives steadier times."
        )
    if facts.physical_cores is not None and threads > facts.physical_cores:
        warnings.append(
            f"{threads} threads share {facts.physical_cores} physical cores; one thread per core "
            "is usually faster."
        )
    return warnings


def _cpu_info(text: str) -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), value.strip())
    return fields


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, Linux {platform.release()}" if platform.system() == "Linux" else name
