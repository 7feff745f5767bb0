"""The CPU that code is made for: its name, features, vector width, registers, caches, cores."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import tvm
from tvm.target import codegen

from ingot.errors import UsageError
from ingot.runtime.cpu_features import machine_architecture, machine_features
from ingot.targets.cpu.microarchitecture.description import Microarchitecture

# LLVM's names of the features that generated code can use, and the kernel's names for the same.
_KERNEL_NAMES = {
    "x86_64": {
        "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2",
        "popcnt": "popcnt", "avx": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c",
        "bmi": "bmi1", "bmi2": "bmi2", "lzcnt": "abm", "movbe": "movbe", "avxvnni": "avx_vnni",
        "avx512f": "avx512f", "avx512bw": "avx512bw", "avx512cd": "avx512cd",
        "avx512dq": "avx512dq", "avx512vl": "avx512vl", "avx512vnni": "avx512_vnni",
        "avx512bf16": "avx512_bf16", "avx512vbmi": "avx512vbmi", "avx512vbmi2": "avx512_vbmi2",
        "avx512bitalg": "avx512_bitalg", "avx512ifma": "avx512ifma",
        "avx512vpopcntdq": "avx512_vpopcntdq", "avx512fp16": "avx512_fp16",
        "amx-tile": "amx_tile", "amx-int8": "amx_int8", "amx-bf16": "amx_bf16",
    },
    "aarch64": {
        "neon": "asimd", "fullfp16": "asimdhp", "dotprod": "asimddp", "i8mm": "i8mm",
        "bf16": "bf16", "sve": "sve", "sve2": "sve2", "lse": "atomics", "rdm": "asimdrdm",
    },
}  # fmt: skip

_GENERIC_CPU = {"x86_64": "x86-64-v2", "aarch64": "generic"}
# The first processor with AMX.
_FIRST_WITH_TILES = "sapphirerapids"
# Where it is not said how many threads will run: none of these should wait for one of them.
_ANY_THREADS = (1, 2, 4, 8)
CACHE_LINE_BYTES = 64
"""Of every processor that code is written for."""

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_KIB = 1024


@dataclasses.dataclass(frozen=True)
class CpuDescription:
    """What schedules need to know of a CPU.

    Attributes:
        architecture: ``x86_64`` or ``aarch64``.
        mcpu: LLVM's name of the processor.
        disabled: LLVM features that ``mcpu`` implies but the machine does not offer.
        features: The features that code may use, by the kernel's names, sorted.
        vector_bytes: Width of a vector register in bytes.
        vector_registers: Number of vector registers.
        core: What its cores, caches and threads can do.
        thread_counts: The numbers of threads that parallel loops are cut for; (1,) makes none.
    """

    architecture: str
    mcpu: str
    disabled: tuple[str, ...]
    features: tuple[str, ...]
    vector_bytes: int
    vector_registers: int
    core: Microarchitecture
    thread_counts: tuple[int, ...]

    @property
    def float_lanes(self) -> int:
        """Number of float32 values in a vector register."""
        return self.vector_bytes // 4

    @property
    def operations_per_cycle(self) -> float:
        """Operations on float32 of a core in a cycle, at most; a multiply-add is two."""
        return 2 * self.core.multiply_adds_per_cycle * self.float_lanes

    @property
    def launch_operations(self) -> int:
        """Operations that one core does while threads are woken and waited for.

        A loop of fewer is not worth to be shared.
        """
        return int(self.core.launch_operations)

    def tvm_target(self) -> tvm.target.Target:
        """Returns the TVM target that generates code for this CPU."""
        config: dict[str, object] = {
            "kind": "llvm",
            "mtriple": f"{self.architecture}-linux-gnu",
            "mcpu": self.mcpu,
            "num-cores": max(self.thread_counts),
        }
        if self.disabled:
            config["mattr"] = [f"-{feature}" for feature in self.disabled]
        return tvm.target.Target(config)


def describe_cpu(mcpu: str, threads: int | None) -> CpuDescription:
    """Returns the description of a CPU by LLVM's name; ``native`` is this machine.

    Args:
        mcpu: ``native``, ``generic`` or a name that LLVM knows for this architecture.
        threads: How many threads parallel loops are cut for; ``None`` cuts them for any number.

    Raises:
        UsageError: LLVM does not know the name.
    """
    architecture = machine_architecture()
    if architecture not in _KERNEL_NAMES:
        raise UsageError(f"this machine's architecture {architecture} is not supported")
    native = mcpu == "native"
    if native:
        mcpu = _this_processor(architecture)
    elif mcpu == "generic":
        mcpu = _GENERIC_CPU[architecture]
    implied = _implied_features(architecture, mcpu)
    names = _KERNEL_NAMES[architecture]
    usable = {name for name in implied if name in names}
    disabled: set[str] = set()
    if native:
        disabled = {name for name in usable if names[name] not in machine_features()}
        usable -= disabled
    return CpuDescription(
        architecture=architecture,
        mcpu=mcpu,
        disabled=tuple(sorted(disabled)),
        features=tuple(sorted(names[name] for name in usable)),
        vector_bytes=_vector_bytes(architecture, usable),
        vector_registers=32 if architecture == "aarch64" or "avx512f" in usable else 16,
        core=_core(),
        thread_counts=_ANY_THREADS if threads is None else (threads,),
    )


def _core() -> Microarchitecture:
    return Microarchitecture(
        multiply_adds_per_cycle=2.0,
        multiply_add_latency=4.0,
        loads_per_cycle=2.0,
        instructions_per_cycle=6.0,
        threads_per_core=2,
        l1d_bytes=cache_bytes(level=1, default=32 * _KIB),
        l2_bytes=cache_bytes(level=2, default=512 * _KIB),
        l3_bytes=4 * 1024 * _KIB,
        l2_bytes_per_cycle=64.0,
        l3_bytes_per_cycle=16.0,
        dram_bytes_per_cycle=4.0,
        launch_cycles=15_000.0,
        launch_operations=600_000.0,
        cores=8,
    )


def _this_processor(architecture: str) -> str:
    """LLVM's name of this machine's processor.

    LLVM goes by the model number, which a virtual machine may give as an older processor's.
    """
    name: str = codegen.llvm_get_system_cpu()
    if "amx_int8" in machine_features() and "amx-int8" not in _implied_features(architecture, name):
        return _FIRST_WITH_TILES
    return name


@functools.cache
def _implied_features(architecture: str, mcpu: str) -> frozenset[str]:
    if mcpu not in known_processors(architecture):
        raise UsageError(
            f"LLVM knows no {architecture} processor called {mcpu!r}; see `ingot targets --json`"
        )
    target = tvm.target.Target(
        {"kind": "llvm", "mtriple": f"{architecture}-linux-gnu", "mcpu": mcpu}
    )
    return frozenset(str(name) for name in codegen.llvm_get_cpu_features(target))


def known_processors(architecture: str) -> list[str]:
    """Returns the names of the processors that LLVM knows for an architecture."""
    target = tvm.target.Target({"kind": "llvm", "mtriple": f"{architecture}-linux-gnu"})
    return sorted(map(str, codegen.llvm_get_cpu_archlist(target)))


def _vector_bytes(architecture: str, features: set[str]) -> int:
    if architecture == "x86_64":
        if "avx512f" in features:
            return 64
        if "avx" in features:
            return 32
    return 16


@functools.cache
def cache_bytes(level: int, default: int) -> int:
    """Returns the size of this machine's data cache of a level, or a common default."""
    for index in sorted(_CACHES.glob("index*")):
        kind = (index / "type").read_text().strip()
        if kind != "Instruction" and int((index / "level").read_text()) == level:
            return int((index / "size").read_text().strip().rstrip("K")) * _KIB
    return default
