"""Fourier transforms: the ONNX operators ``DFT`` and ``STFT``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.fourier import Fourier, fourier_call

_COMPUTED = "float32"
_CAST = ("float16", "bfloat16")
# From here on, the axis is an input and counts from the end.
_AXIS_IS_AN_INPUT = 20


def dft(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``DFT`` along one axis.

    Args:
        builder: The block builder to emit to.
        inputs: The data [.., 1 or 2 parts]; if they are there, the length and the axis, both
            constants.
        attributes: ``inverse``, ``onesided`` and, before opset 20, ``axis``.

    Raises:
        UnsupportedOperatorError: A length or an axis that is known only when the code runs,
            float64.
    """
    data, length, axis = (*inputs, None, None)[:3]
    inverse, onesided = (bool(attributes.get(name, 0)) for name in ("inverse", "onesided"))
    data, dtype = _as_computed(builder, data)
    shape = _shape(data)
    place = _number(axis, "axis")
    if place is None:
        old = attributes["tvm_custom"]["opset"] < _AXIS_IS_AN_INPUT
        place = int(attributes.get("axis", 1 if old else -2))
    place %= len(shape)
    parts = _parts(shape)
    values = _value(shape[place])
    points = _number(length, "length")
    mirrored = inverse and onesided
    if values is None or place == len(shape) - 1:
        raise UnsupportedOperatorError("a transform along an axis of open size is not lowered")
    if points is None:
        points = 2 * (values - 1) if mirrored else values
    if onesided and not inverse and parts == 2:
        raise UnsupportedOperatorError("half a spectrum is that of real values alone")
    transform = Fourier(
        points,
        points // 2 + 1 if onesided and not inverse else points,
        complex_input=parts == 2,
        complex_result=not mirrored,
        inverse=inverse,
    )
    if points < 1 or (mirrored and parts == 1):
        raise UnsupportedOperatorError("its length or its input's last dimension does not fit")
    order = [at for at in range(len(shape)) if at not in (place, len(shape) - 1)]
    order += [place, len(shape) - 1]
    moved = order != sorted(order)
    if moved:
        data = builder.emit(relax.op.permute_dims(data, order))
    result = [shape[at] for at in order[:-2]] + [transform.bins, 1 if mirrored else 2]
    result_type = relax.TensorType(result, _COMPUTED)
    spectrum = builder.emit(fourier_call(transform, data, None, result_type))
    if moved:
        back = [order.index(at) for at in range(len(shape))]
        spectrum = builder.emit(relax.op.permute_dims(spectrum, back))
    return spectrum if dtype == _COMPUTED else relax.op.astype(spectrum, dtype)


def stft(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``STFT``; the signal may be of any length.

    Args:
        builder: The block builder to emit to.
        inputs: The signal [batch, values, 1 or 2 parts], the frames' distance, if they are there a
            window and the frames' length; the numbers are constants.
        attributes: ``onesided``.

    Raises:
        UnsupportedOperatorError: A distance or a length that is known only when the code runs,
            float64.
    """
    signal, step, window, length = (*inputs, None, None)[:4]
    signal, dtype = _as_computed(builder, signal)
    shape = _shape(signal)
    if len(shape) == 2:
        shape = [*shape, tirx.IntImm("int64", 1)]
        signal = builder.emit(relax.op.reshape(signal, relax.ShapeExpr(shape)))
    parts = _parts(shape)
    onesided = bool(attributes.get("onesided", 1)) and parts == 1
    points = _number(length, "frame length")
    if window is not None:
        window, _ = _as_computed(builder, window)
        windowed = _value(_shape(window)[0])
        if windowed is None or points not in (None, windowed):
            raise UnsupportedOperatorError("the window's size is not the frames' length")
        points = windowed
    distance = _number(step, "frame step")
    if points is None:
        points = _value(shape[1])
    if points is None or distance is None or min(points, distance) < 1:
        raise UnsupportedOperatorError("the frames' length or distance is not known")
    samples = shape[1]
    frames = tirx.floordiv(samples - points, tirx.IntImm("int64", distance)) + 1
    known = _value(samples)
    if known is not None:
        frames = tirx.IntImm("int64", max(0, (known - points) // distance + 1))
    else:
        frames = tirx.max(frames, tirx.IntImm("int64", 0))
    bins = points // 2 + 1 if onesided else points
    transform = Fourier(points, bins, complex_input=parts == 2, step=distance)
    result = relax.TensorType([shape[0], frames, bins, 2], _COMPUTED)
    spectra = builder.emit(fourier_call(transform, signal, window, result))
    return spectra if dtype == _COMPUTED else relax.op.astype(spectra, dtype)


def _as_computed(builder: relax.BlockBuilder, data: relax.Expr) -> tuple[relax.Expr, str]:
    """Returns float32 data, and the type that it had."""
    dtype = str(data.ty.dtype)
    if dtype in _CAST:
        data = builder.emit(relax.op.astype(data, _COMPUTED))
    elif dtype != _COMPUTED:
        raise UnsupportedOperatorError(f"a transform of {dtype} is not lowered")
    return data, dtype


def _shape(data: relax.Expr) -> list[Any]:
    if data.ty.shape is None:
        raise UnsupportedOperatorError("an input has no known shape")
    return list(data.ty.shape)


def _parts(shape: Sequence[Any]) -> int:
    parts = _value(shape[-1])
    if parts not in (1, 2):
        raise UnsupportedOperatorError("the last dimension does not say whether values are complex")
    return parts


def _value(size: Any) -> int | None:
    return int(size.value) if isinstance(size, tirx.IntImm) else None


def _number(entry: Any, name: str) -> int | None:
    """Returns a constant's value, None where there is none."""
    if entry is None:
        return None
    if isinstance(entry, tvm.ir.GenericConst):
        return int(entry.value.numpy().reshape(()))
    if isinstance(entry, tirx.IntImm):
        return int(entry.value)
    if isinstance(entry, relax.ShapeExpr) and len(entry.values) == 1:
        size = _value(entry.values[0])
        if size is not None:
            return size
    raise UnsupportedOperatorError(f"its {name} is known only when the code runs")
