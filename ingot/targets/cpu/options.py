"""The options that say which processor code is made for, and their form in a target's string."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import pydantic

from ingot.errors import UsageError
from ingot.targets.base import TargetOptions
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.microarchitecture.description import Microarchitecture
from ingot.targets.cpu.microarchitecture.measured import measured_fields
from ingot.targets.cpu.microarchitecture.presets import preset_of
from ingot.targets.cpu.microarchitecture.sizes import format_size, parse_size

_CACHES = ("l1d", "l2", "l3")


def _as_size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


Size = Annotated[int, pydantic.BeforeValidator(_as_size), pydantic.Field(ge=0)]
# A cache of every core: blocks are cut to fit, and less than a page would hold none.
Cache = Annotated[Size, pydantic.Field(ge=4096)]
Rate = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


class ProcessorOptions(TargetOptions):
    """The processor that code is made for.

    What is not given is the processor's own, by its preset, and for ``native`` this machine's. The
    numbers behind ``l3`` are those of :class:`Microarchitecture`, which says their units.

    Attributes:
        mcpu: LLVM's name of the processor, ``native`` for this machine's or ``generic``.
        threads: How many threads parallel loops are cut for; 1 makes none. By default they are cut
            for any number up to ``cores``. How many threads run is the session's choice.
        cores: Cores that there are to share work.
        without: Features of the processor that are not to be used, by LLVM's names, joined by +.
        l1d: A core's first-level data cache: 32K, or a number of bytes.
        l2: A core's second-level cache, or its share of one.
        l3: A core's share of the third-level cache, 0 where there is none.
        probed: Whether what ``ingot probe`` measured of this machine goes before the preset.
    """

    mcpu: str = "native"
    threads: int | None = pydantic.Field(default=None, ge=1)
    cores: int | None = pydantic.Field(default=None, ge=1)
    without: str = ""
    l1d: Cache | None = None
    l2: Cache | None = None
    l3: Size | None = None
    multiply_adds_per_cycle: Rate | None = None
    multiply_add_latency: Rate | None = None
    loads_per_cycle: Rate | None = None
    instructions_per_cycle: Rate | None = None
    threads_per_core: int | None = pydantic.Field(default=None, ge=1)
    l2_bytes_per_cycle: Rate | None = None
    l3_bytes_per_cycle: Rate | None = None
    dram_bytes_per_cycle: Rate | None = None
    launch_cycles: Rate | None = None
    probed: bool = False

    def describe(self) -> CpuDescription:
        """Returns the processor's description.

        Raises:
            UsageError: LLVM does not know the processor, or a feature that it is to be without; or
                nothing was measured of this machine.
        """
        given = {field: getattr(self, option) for field, option in _OPTIONS.items()}
        changes = {field: value for field, value in given.items() if value is not None}
        if self.probed:
            if self.mcpu != "native":
                raise UsageError(f"only this machine can be probed: leave out mcpu={self.mcpu}")
            changes = {**measured_fields(describe_cpu("native", None)), **changes}
        return describe_cpu(
            self.mcpu,
            self.threads,
            cores=self.cores,
            without=[name for name in self.without.split("+") if name],
            changes=changes,
        )


# The option for each field of the description.
_OPTIONS = {
    field.name: field.name.removesuffix("_bytes") for field in dataclasses.fields(Microarchitecture)
}


def processor_spec(cpu: CpuDescription) -> str:
    """Returns the options that describe a processor, whatever machine reads them.

    All is said that code depends on and LLVM's name does not say: the caches, for how many threads
    loops are cut, the features that are left out, and where the description is not the preset's.
    """
    parts = [f"mcpu={cpu.mcpu}"]
    if cpu.threads is not None:
        parts.append(f"threads={cpu.threads}")
    for cache in _CACHES:
        parts.append(f"{cache}={format_size(getattr(cpu.core, f'{cache}_bytes'))}")
    if cpu.threads is None:
        parts.append(f"cores={cpu.cores}")
    if cpu.disabled:
        parts.append(f"without={'+'.join(cpu.disabled)}")
    preset = preset_of(cpu.mcpu, cpu.architecture, cpu.features).core
    for field, option in _OPTIONS.items():
        value = getattr(cpu.core, field)
        if option not in _CACHES and value != getattr(preset, field):
            parts.append(f"{option}={str(value).removesuffix('.0')}")
    return ",".join(parts)
