"""Networks of 8-bit integers in QDQ form, what they compute, and what ONNX Runtime makes of them.

Scales that are powers of two make ONNX Runtime's float32 arithmetic exact, as long as sums stay
below 2^24: compiled code has to give its very bits, also where a result lies in the middle between
two integers. For any other scales ``assert_rounded`` takes results that were computed here.

network = QuantizedNetwork()
x = network.quantized(network.input(1, 8, 13, 13), ACTIVATIONS)
y = network.apply("Conv", x, network.weights(random_weights(16, 8, 3, 3)), pads=[1] * 4)
network.integers(y, Affine(2.0, 121))
assert_same_bits(compile_for_cpu(network.model()), network)
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from hypothesis import strategies as st

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compiled
from tests.targets.cpu.networks import Network, normal

Array = np.ndarray
Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Affine:
    """How 8-bit integers stand for real numbers: ``(integer - zero_point) * scale``."""

    scale: float
    zero_point: int = 0
    dtype: str = "uint8"

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest integer."""
        return int(np.iinfo(self.dtype).min), int(np.iinfo(self.dtype).max)

    def quantize(self, values: Array) -> Array:
        """What QuantizeLinear computes: division, rounding half to even, saturation."""
        with np.errstate(over="ignore"):  # infinity saturates as well
            rounded = np.rint(np.float32(values) / np.float32(self.scale)) + self.zero_point
        return np.clip(rounded, *self.limits).astype(self.dtype)

    def centred(self, integers: Array) -> Array:
        """Distances from the zero point, int64."""
        return integers.astype(np.int64) - self.zero_point


# Normally distributed values saturate at two standard deviations, on both sides.
ACTIVATIONS = Affine(2.0**-6, 121)
SIGNED_ACTIVATIONS = Affine(2.0**-6, -5, "int8")


class QuantizedNetwork(Network):
    """A network with layers of integers."""

    def quantized(self, value: str, affine: Affine) -> str:
        """Quantizes a value and dequantizes it again; returns the float32 value."""
        parameters = self._parameters(affine)
        return self.apply(
            "DequantizeLinear", self.apply("QuantizeLinear", value, *parameters), *parameters
        )

    def integers(self, value: str, affine: Affine) -> None:
        """Makes the quantized value an output."""
        self.output(self.apply("QuantizeLinear", value, *self._parameters(affine)))

    def weights(
        self, integers: Array, scales: Array | float = 2.0**-7, axis: int = 0, dtype: str = "int8"
    ) -> str:
        """Constant integers, dequantized by one scale or by one per index of an axis."""
        scales = np.asarray(scales, np.float32)
        zeros = self.constant(np.zeros(scales.shape, dtype))
        along = {"axis": axis} if scales.ndim else {}
        return self.apply(
            "DequantizeLinear", self.constant(integers), self.constant(scales), zeros, **along
        )

    def _parameters(self, affine: Affine) -> tuple[str, str]:
        return (
            self.constant(np.array(affine.scale, np.float32)),
            self.constant(np.array(affine.zero_point, affine.dtype)),
        )


def random_weights(*shape: int, seed: int = 0, largest: int = 127) -> Array:
    """Integers from -largest to largest, each as likely: two neighbours often exceed 128."""
    generator = np.random.default_rng(seed)
    return generator.integers(-largest, largest, shape, np.int8, endpoint=True)


def powers_of_two(count: int, seed: int = 0) -> Array:
    """Scales of ``count`` channels, powers of two from 2^-9 to 2^-6."""
    return np.exp2(np.random.default_rng(seed).integers(-9, -6, count)).astype(np.float32)


def result_affine(terms: int, zero_point: int = 121, dtype: str = "uint8") -> Affine:
    """Integers for sums of ``terms`` products of these values and weights.

    A few of a hundred results lie beyond either end of 8 bits.
    """
    return Affine(2.0 ** math.floor(math.log2(math.sqrt(terms) / 120)), zero_point, dtype)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution of integers; padding is top, left, bottom, right."""

    size: Pair
    kernel: Pair
    channels: int = 10
    filters: int = 17
    strides: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1
    batch: int | str = 1
    source: Affine = ACTIVATIONS
    zero_point: int = 121
    dtype: str = "uint8"
    per_channel: bool = True

    def fits(self) -> bool:
        """Whether the kernel fits into the padded image."""
        return all(
            size + before + after >= (kernel - 1) * dilation + 1
            for size, before, after, kernel, dilation in zip(
                self.size, self.pads[:2], self.pads[2:], self.kernel, self.dilations, strict=True
            )
        )

    @property
    def terms(self) -> int:
        """Products that a sum adds."""
        return math.prod(self.kernel) * self.channels // self.groups

    @property
    def result(self) -> Affine:
        return result_affine(self.terms, self.zero_point, self.dtype)

    @property
    def weights(self) -> Array:
        return random_weights(self.filters, self.channels // self.groups, *self.kernel)

    @property
    def scales(self) -> Array | float:
        return powers_of_two(self.filters) if self.per_channel else 2.0**-7

    @property
    def bias(self) -> Array:
        """Multiples of the products' unit, so that sums with it stay exact."""
        unit = np.float32(self.source.scale) * np.broadcast_to(self.scales, self.filters)
        generator = np.random.default_rng(5)
        spread = round(100 * math.sqrt(self.terms))
        return (unit * generator.integers(-spread, spread, self.filters)).astype(np.float32)

    def add_to(self, network: QuantizedNetwork, weights: Array | None = None) -> str:
        """Adds an input, its quantization and the convolution of it; returns the result."""
        x = network.quantized(network.input(self.batch, self.channels, *self.size), self.source)
        return network.apply(
            "Conv",
            x,
            network.weights(self.weights if weights is None else weights, self.scales),
            network.constant(self.bias),
            strides=self.strides,
            pads=self.pads,
            dilations=self.dilations,
            group=self.groups,
        )

    def network(self, weights: Array | None = None) -> QuantizedNetwork:
        network = QuantizedNetwork()
        network.integers(self.add_to(network, weights), self.result)
        return network

    def sums(self, integers: Array, weights: Array | None = None) -> Array:
        """The exact sums, int64 [N, filters, height, width], without the bias."""
        centred = np.pad(
            self.source.centred(integers),
            [(0, 0), (0, 0), *zip(self.pads[:2], self.pads[2:], strict=True)],
        )
        weights = (self.weights if weights is None else weights).astype(np.int64)
        height, width = (
            (padded - (kernel - 1) * dilation - 1) // stride + 1
            for padded, kernel, dilation, stride in zip(
                centred.shape[2:], self.kernel, self.dilations, self.strides, strict=True
            )
        )
        images = centred.reshape(len(centred), self.groups, -1, *centred.shape[2:])
        filters = weights.reshape(self.groups, -1, *weights.shape[1:])
        total = np.zeros((len(centred), self.groups, filters.shape[1], height, width), np.int64)
        for tap_y, tap_x in np.ndindex(self.kernel):
            top, left = tap_y * self.dilations[0], tap_x * self.dilations[1]
            seen = images[..., top :: self.strides[0], left :: self.strides[1]]
            total += np.einsum(
                "ngcyx,gfc->ngfyx", seen[..., :height, :width], filters[..., tap_y, tap_x]
            )
        return total.reshape(len(centred), -1, height, width)


def layers(
    channels: st.SearchStrategy[int],
    kernels: st.SearchStrategy[Pair],
    sources: st.SearchStrategy[Affine],
) -> st.SearchStrategy[Layer]:
    """Layers of any size, strides, dilation and padding, one group."""
    small = st.integers(1, 3)
    sizes, dilations = st.integers(1, 15), st.sampled_from([1, 1, 2, 3])
    return st.builds(
        Layer,
        batch=st.sampled_from([1, 3, "N"]),
        channels=channels,
        filters=channels,
        size=st.tuples(sizes, sizes),
        kernel=kernels,
        strides=st.tuples(small, small),
        dilations=st.tuples(dilations, dilations),
        pads=st.tuples(*[st.integers(0, 4)] * 4),
        source=sources,
        zero_point=st.sampled_from([0, 3, 127]),
        dtype=st.sampled_from(["uint8", "int8"]),
        per_channel=st.booleans(),
    ).filter(Layer.fits)


SOURCES = st.sampled_from(
    [ACTIVATIONS, SIGNED_ACTIVATIONS, Affine(2.0**-6, 0), Affine(2.0**-5, 255), Affine(2.0**-7)]
)


def assert_same_bits(
    compiled: Compiled, network: QuantizedNetwork, *, threads: int = 2, **sizes: int
) -> None:
    """Asserts that outputs are ONNX Runtime's, bit by bit."""
    inputs = network.random_inputs(**sizes)
    results = compiled(*inputs.values(), threads=threads)
    for (name, expected), actual in zip(
        Reference(network.model()).run(inputs).items(), results, strict=True
    ):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), name
        np.testing.assert_array_equal(actual, expected, err_msg=name)


def assert_rounded(actual: Array, exact: Array, affine: Affine, terms: Array | float) -> None:
    """Asserts that integers are the nearest to real numbers, or saturated.

    Args:
        actual: The integers.
        exact: What they stand for, float64.
        affine: How.
        terms: The largest magnitude of a term that ``exact`` is the sum of: float32 arithmetic is
            off by a few units of its last place.
    """
    assert actual.dtype == affine.dtype
    places = exact / np.float64(np.float32(affine.scale)) + affine.zero_point
    error = np.abs(actual.astype(np.float64) - np.clip(places, *affine.limits))
    slack = (np.abs(exact) + terms) / affine.scale * 2.0**-22
    assert np.all(error <= 0.5 + slack), f"differs by {error.max()}"


def saturates(integers: Array) -> bool:
    """Whether some integers lie at the lower end of their type, some at the upper, most within."""
    limits = np.iinfo(integers.dtype)
    at_ends = [float(np.mean(integers == end)) for end in (limits.min, limits.max)]
    return min(at_ends) > 0 and sum(at_ends) < 0.5


def many_inputs(*shape: int, seed: int = 1) -> Array:
    """Float32 values that include what no integer stands for: far out of range, and zeros."""
    values = normal(*shape, seed=seed).ravel()
    values[::11] *= np.float32(1e30)
    values[1::13] = 0
    return values.reshape(shape)
