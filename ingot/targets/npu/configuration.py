"""The NPUs that there are, and what Vela is told of them."""

from __future__ import annotations

import configparser
import dataclasses
import functools
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from ingot.errors import IngotError, UsageError
from ingot.runtime.npu.region import Configuration

EXTRA = "pip install 'ingot[npu]'"
_PACKAGES = {"ethosu": "ethos-u-vela", "tosa_serializer": "tosa-tools"}
_CONFIGURATION_FILE = Path("config_files") / "Arm" / "vela.ini"


@dataclasses.dataclass(frozen=True)
class Product:
    """A product line of Ethos-U.

    Attributes:
        sizes: Multiply-adds per cycle that it is made with.
        cores: Cores by size, where that is not one.
        system_configuration: The default of them, a section of Vela's configuration file.
        memory_mode: Likewise.
        memory_modes: Those that the product can work in.
        ends_in_elementwise: Whether an element-wise operator can be the end of what computes its
            first operand (Vela calls it chaining).
    """

    sizes: tuple[int, ...]
    cores: Mapping[int, int]
    system_configuration: str
    memory_mode: str
    memory_modes: tuple[str, ...]
    ends_in_elementwise: bool = False


_DEDICATED = (
    "Dedicated_Sram", "Dedicated_Sram_256KB", "Dedicated_Sram_384KB", "Dedicated_Sram_512KB",
)  # fmt: skip

# Sizes and modes: Vela 5.2's OPTIONS.md and its configuration file. An Ethos-U65-512 is two cores.
PRODUCTS: Mapping[str, Product] = {
    "ethos-u55": Product(
        sizes=(32, 64, 128, 256),
        cores={},
        system_configuration="Ethos_U55_High_End_Embedded",
        memory_mode="Shared_Sram",
        memory_modes=("Sram_Only", "Shared_Sram"),
    ),
    "ethos-u65": Product(
        sizes=(256, 512),
        cores={512: 2},
        system_configuration="Ethos_U65_High_End",
        memory_mode="Dedicated_Sram_384KB",
        memory_modes=("Sram_Only", "Shared_Sram", *_DEDICATED),
    ),
    "ethos-u85": Product(
        sizes=(128, 256, 512, 1024, 2048),
        cores={},
        system_configuration="Ethos_U85_SYS_DRAM_Mid",
        memory_mode="Sram_Only",
        memory_modes=("Sram_Only", "Shared_Sram", *_DEDICATED),
        ends_in_elementwise=True,
    ),
}

ACCELERATORS = tuple(
    f"{name}-{size}" for name, product in PRODUCTS.items() for size in product.sizes
)


def product_of(accelerator: str) -> Product:
    """Returns the product line of an accelerator such as ``ethos-u55-256``.

    Raises:
        UsageError: There is no such accelerator; lists those that there are.
    """
    if accelerator not in ACCELERATORS:
        raise UsageError(
            f"no NPU is called {accelerator!r}; target npu has {', '.join(ACCELERATORS)}"
        )
    return PRODUCTS[accelerator.rpartition("-")[0]]


def configure(
    accelerator: str, system_configuration: str | None, memory_mode: str | None
) -> Configuration:
    """Returns a checked configuration, with the product's defaults where none is given.

    Raises:
        UsageError: An unknown accelerator, system configuration or memory mode; lists those known.
    """
    product = product_of(accelerator)
    series = accelerator.split("-")[1].upper()
    system = system_configuration or product.system_configuration
    known = [name for name in _sections("System_Config") if name.startswith(f"Ethos_{series}_")]
    if system not in known:
        raise UsageError(
            f"{accelerator} has no system configuration {system!r}; it has {', '.join(known)}"
        )
    mode = memory_mode or product.memory_mode
    if mode not in product.memory_modes:
        raise UsageError(
            f"{accelerator} has no memory mode {mode!r}; it has {', '.join(product.memory_modes)}"
        )
    return Configuration(accelerator, system, mode)


def clock_hz(configuration: Configuration) -> float:
    """Returns the clock of a system configuration."""
    section = f"System_Config.{configuration.system_configuration}"
    return float(_vela_file()[section]["core_clock"])


def arena_limit(configuration: Configuration) -> int | None:
    """Returns the bytes of fast memory that a memory mode gives, None where it sets no limit."""
    parser = _vela_file()
    section = f"Memory_Mode.{configuration.memory_mode}"
    size = parser[section].get("arena_cache_size")
    return None if size is None else int(size)


def vela_system(configuration: Configuration) -> str:
    """Returns what Vela's compiler core is told of the machine, in its own ini syntax."""
    size = configuration.macs_per_cycle
    cores = PRODUCTS[configuration.product].cores.get(size, 1)
    return (
        f"[architecture]\nmacs={size // cores}\ncores={cores}\n"
        f"[vela]\nsystem_config_name={configuration.system_configuration}\n"
        f"memory_mode_name={configuration.memory_mode}\n{_vela_text()}"
    )


def require_extra() -> None:
    """Checks that Arm's compiler and TOSA's serializer are installed.

    Raises:
        IngotError: One is not; says how to install it.
    """
    for module, package in _PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise IngotError(f"target npu needs {package}: install it with `{EXTRA}`")


def compiler_versions() -> dict[str, str]:
    """Returns the versions of the packages that make a region."""
    return {package: importlib.metadata.version(package) for package in _PACKAGES.values()}


@functools.cache
def _vela_text() -> str:
    require_extra()
    spec = importlib.util.find_spec("ethosu.vela")
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent.parent / _CONFIGURATION_FILE).read_text(encoding="utf-8")


@functools.cache
def _vela_file() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(_vela_text())
    return parser


def _sections(kind: str) -> list[str]:
    return [name.partition(".")[2] for name in _vela_file().sections() if name.startswith(kind)]
