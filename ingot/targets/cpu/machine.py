"""The CPU that code is made for: its name, features, vector width, registers, caches, cores."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import tvm
from tvm.target import codegen

from ingot.errors import UsageError
from ingot.runtime.cpu_features import machine_architecture, machine_features
from ingot.runtime.cpu_quota import usable_cpus
from ingot.targets.cpu.microarchitecture.description import Microarchitecture
from ingot.targets.cpu.microarchitecture.host import cache_shares
from ingot.targets.cpu.microarchitecture.presets import preset_of, presets

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
_CORES = 8
"""Of a named processor: of how many it has nothing is known, and loops are cut for any number."""

_LEVELS = {1: "l1d", 2: "l2", 3: "l3"}

CACHE_LINE_BYTES = 64
"""Of every processor that code is written for."""


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
        cores: Cores that there are to share work; as many as threads, where these are said.
        threads: How many threads parallel loops are cut for, 1 for none; None for any number.
    """

    architecture: str
    mcpu: str
    disabled: tuple[str, ...]
    features: tuple[str, ...]
    vector_bytes: int
    vector_registers: int
    core: Microarchitecture
    cores: int
    threads: int | None

    @property
    def float_lanes(self) -> int:
        """Number of float32 values in a vector register."""
        return self.vector_bytes // 4

    @functools.cached_property
    def thread_counts(self) -> tuple[int, ...]:
        """The numbers of threads none of which should wait for one of them; (1,) for no loops."""
        if self.threads is not None:
            return (self.threads,)
        # Code that is made on a machine of one core seldom stays there.
        most = max(self.cores, 2)
        return tuple(sorted({1 << power for power in range(most.bit_length())} | {most}))

    @property
    def operations_per_cycle(self) -> float:
        """Operations on float32 of a core in a cycle, at most; a multiply-add is two."""
        return 2 * self.core.multiply_adds_per_cycle * self.float_lanes

    @property
    def launch_operations(self) -> int:
        """Operations that one core does while threads are woken and waited for.

        A loop of fewer is not worth to be shared.
        """
        return int(self.core.launch_cycles * self.operations_per_cycle)

    @property
    def operations_of_a_byte(self) -> int:
        """Operations that one core does in the time in which it reads or writes a byte.

        Where the next kernel finds it, most are in the third-level cache.
        """
        return max(1, round(self.operations_per_cycle / self.core.busy_l3_bytes_per_cycle))

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


def describe_cpu(
    mcpu: str,
    threads: int | None,
    *,
    cores: int | None = None,
    without: Sequence[str] = (),
    changes: Mapping[str, float] | None = None,
) -> CpuDescription:
    """Returns the description of a CPU by LLVM's name; ``native`` is this machine.

    What a named processor is described by depends on its name alone; ``native`` takes the preset of
    this machine's processor, and its caches and cores as the kernel tells them.

    Args:
        mcpu: ``native``, ``generic`` or a name that LLVM knows for this architecture.
        threads: How many threads parallel loops are cut for; ``None`` cuts them for any number.
        cores: Cores that there are to share work, by default this machine's or eight.
        without: LLVM's names of features that are not to be used.
        changes: Fields of :class:`Microarchitecture` that are otherwise than in the preset.

    Raises:
        UsageError: LLVM does not know the name, or the processor has no such feature.
    """
    architecture = machine_architecture()
    if architecture not in _KERNEL_NAMES:
        raise UsageError(f"this machine's architecture {architecture} is not supported")
    native = mcpu == "native"
    if native:
        mcpu = _this_processor(architecture)
    elif mcpu == "generic":
        mcpu = _GENERIC_CPU[architecture]
    names = _KERNEL_NAMES[architecture]
    usable = {name for name in _implied_features(architecture, mcpu) if name in names}
    disabled = set(without)
    if unknown := sorted(disabled - set(names)):
        raise UsageError(f"no feature of {architecture} is called {unknown[0]!r}")
    if native:
        disabled |= {name for name in usable if names[name] not in machine_features()}
    disabled &= usable
    usable -= disabled
    features = tuple(sorted(names[name] for name in usable))
    core = preset_of(mcpu, architecture, features).core
    cores = cores or (usable_cpus() if native else _CORES)
    if native:
        caches = {f"{_LEVELS[level]}_bytes": share for level, share in cache_shares().items()}
        core = dataclasses.replace(core, **caches)
    return CpuDescription(
        architecture=architecture,
        mcpu=mcpu,
        disabled=tuple(sorted(disabled)),
        features=features,
        vector_bytes=_vector_bytes(architecture, usable),
        vector_registers=32 if architecture == "aarch64" or "avx512f" in usable else 16,
        core=dataclasses.replace(core, **(changes or {})),  # type: ignore[arg-type]
        cores=cores if threads is None else threads,
        threads=threads,
    )


def _this_processor(architecture: str) -> str:
    """LLVM's name of this machine's processor.

    LLVM goes by the model number, which a virtual machine may give as an older processor's: one
    with tiles is at least as new as the first that had them.
    """
    name: str = codegen.llvm_get_system_cpu()
    tiles = "amx-int8"
    if "amx_int8" in machine_features() and tiles not in _implied_features(architecture, name):
        known = set(known_processors(architecture))
        names = (name for preset in presets() for name in preset.names if name in known)
        return next(name for name in names if tiles in _implied_features(architecture, name))
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
