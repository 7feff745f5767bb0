"""Whether a sample is what a model takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ingot.calibration.samples import Sample
from ingot.errors import DataError


def check_sample(sample: Sample, inputs: Sequence[ir.Value]) -> None:
    """Refuses a sample that the model cannot take.

    Args:
        sample: The sample.
        inputs: The model's inputs; initializers among them need no array.

    Raises:
        DataError: An input is missing, unknown, or of another dtype or shape; names the sample,
            the input and what is expected.
    """
    taken = [value for value in inputs if not value.is_initializer()]
    names = [str(value.name) for value in taken]
    wrong = [name for name in sample.inputs if name not in names]
    missing = [name for name in names if name not in sample.inputs]
    if wrong or missing:
        found = f"has no input '{missing[0]}'" if missing else f"has an unknown input '{wrong[0]}'"
        raise DataError(f"{sample.name} {found}; the model takes {', '.join(names)}")
    sizes: dict[str, tuple[int, str]] = {}
    for value in taken:
        _check_dtype(sample, value)
        _check_shape(sample, value, sizes)


def _check_dtype(sample: Sample, value: ir.Value) -> None:
    if value.dtype is None:
        return
    array = sample.inputs[str(value.name)]
    expected = np.dtype(value.dtype.numpy())
    if array.dtype != expected:
        raise DataError(
            f"input '{value.name}' of {sample.name} is {array.dtype}, the model expects "
            f"{expected}: convert it with .astype('{expected}')"
        )


def _check_shape(sample: Sample, value: ir.Value, sizes: dict[str, tuple[int, str]]) -> None:
    if value.shape is None:
        return
    name = str(value.name)
    shape = sample.inputs[name].shape
    dims = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    expected = f"[{', '.join('?' if dim is None else str(dim) for dim in dims)}]"
    fits = len(shape) == len(dims) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(dims, shape, strict=True)
    )
    if not fits:
        raise DataError(
            f"input '{name}' of {sample.name} has the shape {list(shape)}, the model expects "
            f"{expected}"
        )
    for dim, size in zip(dims, shape, strict=True):
        if not isinstance(dim, str):
            continue
        known, other = sizes.setdefault(dim, (size, name))
        if known != size:
            raise DataError(
                f"input '{name}' of {sample.name} has the shape {list(shape)}, the model expects "
                f"{expected}, where {dim} is {known} in input '{other}'"
            )
