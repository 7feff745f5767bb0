"""Fourier transforms: the ONNX operators ``DFT`` and ``STFT``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, largest, plain
from ingot.targets.relax.fourier import Fourier, fourier_call
from ingot.targets.relax.operators.inputs import constants, optional, tensor
from ingot.targets.relax.operators.narrower_floats import COMPUTED, as_computed, as_given

# From here on, the axis is an input and counts from the end.
_AXIS_IS_AN_INPUT = 20


def dft(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
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
    data = tensor(builder, inputs[0])
    inverse, onesided = (bool(attributes.get(name, 0)) for name in ("inverse", "onesided"))
    dtype = str(data.ty.dtype)
    data = as_computed(builder, data)
    shape = _shape(data)
    place = _number(inputs, 2, "the axis is")
    if place is None:
        old = attributes["tvm_custom"]["opset"] < _AXIS_IS_AN_INPUT
        place = int(attributes.get("axis", 1 if old else -2))
    place %= len(shape)
    parts = _parts(shape)
    values = plain(shape[place])
    points = _number(inputs, 1, "the length is")
    mirrored = inverse and onesided
    if not isinstance(values, int) or place == len(shape) - 1:
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
    result_type = relax.TensorType(result, COMPUTED)
    spectrum = builder.emit(fourier_call(transform, data, None, result_type))
    if moved:
        back = [order.index(at) for at in range(len(shape))]
        spectrum = builder.emit(relax.op.permute_dims(spectrum, back))
    return as_given(builder, spectrum, dtype)


def stft(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
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
    signal, window = tensor(builder, inputs[0]), optional(inputs, 2)
    dtype = str(signal.ty.dtype)
    signal = as_computed(builder, signal)
    shape = _shape(signal)
    if len(shape) == 2:
        shape = [*shape, as_expression(1)]
        signal = builder.emit(relax.op.reshape(signal, relax.ShapeExpr(shape)))
    parts = _parts(shape)
    onesided = bool(attributes.get("onesided", 1)) and parts == 1
    points = _number(inputs, 3, "the frames' length is")
    if window is not None:
        window = as_computed(builder, tensor(builder, window))
        windowed = plain(_shape(window)[0])
        if not isinstance(windowed, int) or points not in (None, windowed):
            raise UnsupportedOperatorError("the window's size is not the frames' length")
        points = windowed
    distance = _number(inputs, 1, "the frames' distance is")
    samples = plain(shape[1])
    if points is None and isinstance(samples, int):
        points = samples
    if points is None or distance is None or min(points, distance) < 1:
        raise UnsupportedOperatorError("the frames' length or distance is not known")
    builder.require(
        as_expression(samples) >= points, f"the signal is shorter than a frame of {points} values"
    )
    whole = (as_expression(samples) - points) // as_expression(distance) + 1
    frames = builder.dimension(largest(whole, 0))
    bins = points // 2 + 1 if onesided else points
    transform = Fourier(points, bins, complex_input=parts == 2, step=distance)
    result = relax.TensorType([shape[0], as_expression(frames), bins, 2], COMPUTED)
    spectra = builder.emit(fourier_call(transform, signal, window, result))
    return as_given(builder, spectra, dtype)


def _shape(data: relax.Expr) -> list[Any]:
    if data.ty.shape is None:
        raise UnsupportedOperatorError("an input has no known shape")
    return list(data.ty.shape)


def _parts(shape: Sequence[Any]) -> int:
    parts = plain(shape[-1])
    if parts not in (1, 2):
        raise UnsupportedOperatorError("the last dimension does not say whether values are complex")
    return int(parts)


def _number(inputs: list[Any], position: int, what: str) -> int | None:
    """Returns the value of an input that has to be known, None where it is left out."""
    entry = optional(inputs, position)
    return None if entry is None else constants(entry, what)[0]
