"""Making samples what a model takes, and telling where they are not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ingot.calibration.samples import Array, Sample
from ingot.errors import DataError


def fit_samples(
    samples: Iterable[Sample], inputs: Sequence[ir.Value], padding: Mapping[str, int]
) -> Iterator[tuple[Sample, int]]:
    """Pads and stacks samples to the sizes that a model fixes.

    A batch that is not full at the end is filled by its own samples again.

    Args:
        samples: The samples.
        inputs: The model's inputs.
        padding: By input name, what fills the last axis; a longer one is cut.

    Yields:
        A sample to run, and how many of ``samples`` went into it.
    """
    taken = [value for value in inputs if not value.is_initializer()]
    batch = _fixed_batch(taken)
    iterator = (_padded(sample, taken, padding) for sample in samples)
    for sample in iterator:
        if batch is None or any(_batch_of(array) != 1 for array in sample.inputs.values()):
            yield sample, 1
            continue
        group = [sample, *itertools.islice(iterator, batch - 1)]
        yield _stacked(group, batch), len(group)


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


def _padded(sample: Sample, inputs: Sequence[ir.Value], padding: Mapping[str, int]) -> Sample:
    fitted = dict(sample.inputs)
    for value in inputs:
        name = str(value.name)
        size = value.shape[-1] if value.shape is not None and len(value.shape) > 1 else None
        if name not in padding or name not in fitted or not isinstance(size, int):
            continue
        array = fitted[name][..., :size]
        missing = [(0, 0)] * (array.ndim - 1) + [(0, size - array.shape[-1])]
        fitted[name] = np.pad(array, missing, constant_values=padding[name])
    return Sample(sample.name, fitted)


def _fixed_batch(inputs: Sequence[ir.Value]) -> int | None:
    """The batch above 1 that all inputs have fixed."""
    sizes = {value.shape[0] if value.shape is not None and len(value.shape) else None
             for value in inputs}  # fmt: skip
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) and size > 1 else None


def _batch_of(array: Array) -> int:
    return array.shape[0] if array.ndim else 0


def _stacked(samples: Sequence[Sample], batch: int) -> Sample:
    first = samples[0]
    for sample in samples[1:]:
        for name, array in first.inputs.items():
            other = sample.inputs.get(name)
            if other is None or other.shape != array.shape or other.dtype != array.dtype:
                raise DataError(
                    f"{first.name} and {sample.name} differ in input '{name}', so they cannot "
                    f"share the model's batch of {batch}: give samples of one shape"
                )
    filled = list(itertools.islice(itertools.cycle(samples), batch))
    names = f"{first.name} to {samples[-1].name}" if len(samples) > 1 else first.name
    return Sample(
        names,
        {name: np.concatenate([sample.inputs[name] for sample in filled]) for name in first.inputs},
    )
