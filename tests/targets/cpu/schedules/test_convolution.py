"""Direct convolution: what ONNX Runtime computes, for any image, kernel, step and padding."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees

# Sizes that divide by nothing, and a vector's.
CHANNELS = st.sampled_from([1, 3, 5, 8, 10, 17, 33])


@dataclasses.dataclass(frozen=True)
class Layer:
    batch: int | str
    channels: int
    filters: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    def fits(self) -> bool:
        """Whether the kernel fits into the padded image."""
        return all(
            size + before + after >= (kernel - 1) * dilation + 1
            for size, before, after, kernel, dilation in zip(
                self.size, self.pads[:2], self.pads[2:], self.kernel, self.dilations, strict=True
            )
        )


def pairs(elements: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(elements, elements)


layers = st.builds(
    Layer,
    batch=st.sampled_from([1, 1, 3, "N"]),
    channels=CHANNELS,
    filters=CHANNELS,
    size=pairs(st.integers(1, 19)),
    kernel=pairs(st.integers(1, 7)),
    strides=pairs(st.integers(1, 3)),
    dilations=pairs(st.sampled_from([1, 1, 2, 3])),
    pads=st.tuples(*[st.integers(0, 6)] * 4),
).filter(Layer.fits)


@settings(max_examples=20)
@given(layers)
def test_agrees_with_onnx_runtime(compile_for_cpu: Compile, layer: Layer) -> None:
    network = Network()
    x = network.input(layer.batch, layer.channels, *layer.size)
    w = network.weight(layer.filters, layer.channels, *layer.kernel)
    network.output(
        network.apply(
            "Conv", x, w, strides=layer.strides, pads=layer.pads, dilations=layer.dilations
        )
    )
    compiled = compile_for_cpu(network.model())
    assert compiled.kernels["conv2d"] in ("convolution", "matmul")
    for batch in (1, 3) if layer.batch == "N" else (1,):
        assert_agrees(compiled, network, N=batch)
