"""Whether there is a device here that can run an artifact's code."""

from __future__ import annotations

from collections.abc import Sequence

from ingot.errors import DeviceError
from ingot.runtime.cuda.architecture import best_architecture
from ingot.runtime.cuda.driver import DeviceFacts, Driver


def require_device(driver: Driver, architectures: Sequence[str], index: int) -> DeviceFacts:
    """Returns a device that there is code for.

    Args:
        driver: The driver.
        architectures: What there is code for.
        index: Which device is asked for.

    Raises:
        DeviceError: There is none; says what is there and what is needed.
    """
    facts = driver.device(index)
    if best_architecture(architectures, facts.capability) is None:
        major, minor = facts.capability
        raise DeviceError(
            f"the artifact has code for {', '.join(architectures)}, and {facts} runs none of it: "
            f"compile it with --target cuda:arch=sm_{major}{minor}"
        )
    return facts


def missing_device(architectures: Sequence[str], index: int = 0) -> str | None:
    """Returns why this machine has no device for the code of some architectures; None if it has."""
    try:
        require_device(Driver(), architectures, index)
    except DeviceError as error:
        return str(error)
    return None
