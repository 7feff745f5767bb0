"""Single convolutions, and whether their kernel computes what ONNX Runtime does."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from tests.targets.cpu.conftest import Compile, Compiled
from tests.targets.cpu.networks import Network, assert_agrees

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution; padding is top, left, bottom, right."""

    size: Pair
    kernel: Pair
    channels: int = 10
    filters: int = 17
    strides: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1
    batch: int | str = 1

    def fits(self) -> bool:
        """Whether the kernel fits into the padded image."""
        return all(
            size + before + after >= (kernel - 1) * dilation + 1
            for size, before, after, kernel, dilation in zip(
                self.size, self.pads[:2], self.pads[2:], self.kernel, self.dilations, strict=True
            )
        )

    def add_to(self, network: Network) -> str:
        """Adds an input and the convolution of it; returns the result."""
        return network.apply(
            "Conv",
            network.input(self.batch, self.channels, *self.size),
            network.weight(self.filters, self.channels // self.groups, *self.kernel),
            strides=self.strides,
            pads=self.pads,
            dilations=self.dilations,
            group=self.groups,
        )

    def network(self) -> Network:
        network = Network()
        network.output(self.add_to(network))
        return network


def check(compile_for_cpu: Compile, layer: Layer, *families: str) -> Compiled:
    """Asserts that a layer is one kernel of a family, and agrees for each batch.

    Args:
        compile_for_cpu: The fixture.
        layer: The layer.
        families: The families that may take it; by default the direct convolution.
    """
    network = layer.network()
    compiled = compile_for_cpu(network.model())
    assert compiled.work in [[family] for family in families or ("convolution",)]
    for batch in (1, 3) if layer.batch == "N" else (1,):
        assert_agrees(compiled, network, N=batch)
    return compiled


def pairs(elements: st.SearchStrategy[int]) -> st.SearchStrategy[Pair]:
    return st.tuples(elements, elements)
