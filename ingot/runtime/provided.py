"""Arrays that a caller gives for outputs: written by code where they can be, filled else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import InputError
from ingot.runtime.alignment import CALLERS_ALIGNMENT, address_of
from ingot.runtime.manifest import TensorSpec
from ingot.runtime.narrow_types import dtype_name

Array = npt.NDArray[Any]


def writable_by_code(
    array: Array | None, spec: TensorSpec, inputs: Sequence[Array]
) -> Array | None:
    """Returns a caller's array for an output where code can write to it."""
    if array is None or array.dtype.kind not in "biufc" or dtype_name(array.dtype) != spec.dtype:
        return None
    if not array.dtype.isnative:
        return None
    if address_of(array) % CALLERS_ALIGNMENT:
        return None
    if any(np.may_share_memory(array, each) for each in inputs):
        return None
    return array


def delivered(produced: dict[str, Array], provided: Mapping[str, Array]) -> dict[str, Array]:
    """Puts the outputs that a caller has given arrays for into these."""
    for name, array in provided.items():
        result = produced[name]
        if result is array:
            continue
        if array.shape != result.shape:
            raise InputError(
                f"output {name} has shape {list(result.shape)}, the array provided for it "
                f"{list(array.shape)}"
            )
        np.copyto(array, result, casting="equiv")
        produced[name] = array
    return produced
