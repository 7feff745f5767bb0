"""Which factors per channel make the least noise in the layers that read them.

A factor moves range from activations to weights and back. Of a family of factors, between making
the activations' ranges equal and leaving all as it is (the balance of Xiao et al., "SmoothQuant",
2023), the one with the least expected noise is taken. With steps d of uniform grids, rounding noise
is d^2/12 (Widrow, 1956): that of the activation passes through the squared weights, that of the
weights through the squared activation.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ingot.passes.quantization.linear import LinearLayer

Wide = npt.NDArray[np.float64]

# Factors stay within this of the largest: a channel that is almost always zero needs no levels.
_LEAST_FACTOR = 1.0 / 256.0
_SHARES = (0.0, 0.25, 0.5, 0.625, 0.75, 0.875, 1.0)
_COUNTERWEIGHTS = (0.0, 0.25, 0.5)
# Root mean square of an activation as a part of its reach, as half-normal values have it.
_TYPICAL = 0.2
# Factors that leave more than this part of the noise are not worth a multiplication.
_WORTHWHILE = 0.8


@dataclasses.dataclass(frozen=True)
class Reader:
    """What a layer does to the channels that it reads.

    Attributes:
        weights: Magnitudes of weights, [rows, channels, taps]: each row has a scale of its own.
        own: Whether each channel has rows of its own (depthwise), so that factors cost nothing.
    """

    weights: Wide
    own: bool

    @classmethod
    def of(cls, layer: LinearLayer) -> Reader:
        """Describes a layer."""
        array = np.abs(layer.array().astype(np.float64))
        if layer.node.op_type != "Conv":
            moved = np.moveaxis(array, layer.channel_axis, 0)
            return cls(moved[:, :, None], own=False)
        flat = array.reshape(*array.shape[:2], -1)
        if layer.groups == 1:
            return cls(flat, own=False)
        # A row of group g reads the channels of that group alone.
        grouped = flat.reshape(layer.groups, -1, *flat.shape[1:])
        return cls(grouped.transpose(1, 0, 2, 3).reshape(grouped.shape[1], -1, flat.shape[2]), True)

    def noise(self, reach: Wide, factors: Wide, weight_noise: float) -> float:
        """Expected noise of the output, as a part of its expected power.

        Args:
            reach: The largest magnitude of each channel before it is divided.
            factors: What each channel is divided by.
            weight_noise: Part of the weights' rounding noise that remains.
        """
        scaled = self.weights * factors[None, :, None]
        divided = reach / factors
        step = divided.max() / 255.0
        from_activation = step**2 * float((scaled**2).sum())
        power = (_TYPICAL * divided) ** 2
        tops = scaled.max(axis=2) if self.own else scaled.max(axis=(1, 2))[:, None]
        steps = np.broadcast_to(tops / 127.0, scaled.shape[:2])
        from_weights = float((steps**2 * power[None, :]).sum()) * self.weights.shape[2]
        signal = float(((scaled**2).sum(axis=2) * power[None, :]).sum())
        noise = float(from_activation + weight_noise * from_weights)
        return noise / max(12.0 * signal, 1e-300)


def expected_reach(reach: Wide) -> Wide:
    """What the magnitudes of channels are expected to reach, as parts of the largest.

    A channel that calibration hardly saw active may reach much further on other data, and would
    then be cut off. It is given the range of the typical channel; what is gained by factors comes
    from the channels above it.

    Args:
        reach: The largest magnitudes that were seen, [channels].
    """
    typical = max(float(np.median(reach)), _LEAST_FACTOR * float(reach.max()))
    return np.asarray(np.maximum(reach, typical) / reach.max())


def best_factors(pairs: Sequence[tuple[Wide, Reader]], weight_noise: float) -> Wide | None:
    """Chooses what each channel is divided by; the largest is 1.

    Args:
        pairs: For each quantized value that takes the factors and each layer that its noise gets
            to: the largest magnitudes of the value's channels, and the layer.
        weight_noise: Part of the weights' rounding noise that remains after learned rounding.

    Returns:
        float64 [channels], or None where no factors are clearly better than none.
    """
    if not pairs or any(not reach.any() for reach, _ in pairs):
        return None
    shapes = [expected_reach(reach) for reach, _ in pairs]
    ranges = np.exp(np.mean(np.log(shapes), axis=0))
    weights = np.ones_like(ranges)
    for _, reader in pairs:
        tops = reader.weights.max(axis=(0, 2))
        weights *= np.maximum(tops / max(tops.max(), 1e-300), _LEAST_FACTOR)
    weights **= 1.0 / len(pairs)

    def noise(factors: Wide) -> float:
        return sum(
            reader.noise(reach, factors, weight_noise)
            for reach, (_, reader) in zip(shapes, pairs, strict=True)
        )

    candidates = []
    for share, counterweight in itertools.product(_SHARES, _COUNTERWEIGHTS):
        factors = ranges**share * weights**-counterweight
        candidates.append(np.maximum(factors / factors.max(), _LEAST_FACTOR))
    noises = [noise(factors) for factors in candidates]
    best = int(np.argmin(noises))
    untouched = noise(np.ones_like(ranges))
    return candidates[best] if noises[best] < _WORTHWHILE * untouched else None
