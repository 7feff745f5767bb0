"""Which machine code runs on which GPU.

Code for compute capability X.y runs on X.z with z at least y: NVIDIA's CUDA programming guide,
"binary compatibility". It promises that for desktops and servers alone, so code for a Tegra chip
runs on that one, and a Tegra chip runs its own code only.
"""

from __future__ import annotations

from collections.abc import Sequence

# Compute capabilities of Tegra chips: Xavier, Orin, Thor.
_TEGRA = frozenset({(7, 2), (8, 7), (10, 1), (11, 0)})


def capability(architecture: str) -> tuple[int, int]:
    """Returns the compute capability of ``sm_90``: (9, 0).

    Raises:
        ValueError: It is not the name of an architecture.
    """
    digits = architecture.removeprefix("sm_")
    if not (architecture.startswith("sm_") and digits.isdecimal() and len(digits) in (2, 3)):
        raise ValueError(f"{architecture!r} is not of the form sm_80")
    return int(digits[:-1]), int(digits[-1])


def best_architecture(architectures: Sequence[str], device: tuple[int, int]) -> str | None:
    """Returns the one of some architectures whose code suits a device best; None if none runs.

    Args:
        architectures: Names such as ``sm_80``.
        device: The device's compute capability.
    """
    fit = [each for each in architectures if _runs(capability(each), device)]
    return max(fit, key=capability, default=None)


def _runs(code: tuple[int, int], device: tuple[int, int]) -> bool:
    if code in _TEGRA or device in _TEGRA:
        return code == device
    return code[0] == device[0] and code[1] <= device[1]
