"""Direct convolution: what ONNX Runtime computes, for any image, kernel, step and padding."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.runtime.cpu_features import machine_architecture
from tests.examples import examples
from tests.targets.cpu.assembly import accumulating_loops
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.convolutions import Layer, Pair, check, pairs
from tests.targets.cpu.epilogues import EPILOGUES, apply_epilogue
from tests.targets.cpu.networks import Network, assert_agrees, assert_same_bits_on_threads

X86 = pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's registers")

# Sizes that divide by nothing, and a vector's.
channels = st.sampled_from([1, 3, 5, 8, 10, 17, 33])


layers = st.builds(
    Layer,
    batch=st.sampled_from([1, 3, "N"]),
    channels=channels,
    filters=channels,
    size=pairs(st.integers(1, 17)),
    kernel=st.tuples(st.integers(1, 7), st.integers(2, 5)),
    strides=pairs(st.integers(1, 3)),
    dilations=pairs(st.sampled_from([1, 1, 2, 3])),
    pads=st.tuples(*[st.integers(0, 4)] * 4),
).filter(Layer.fits)


# Each example is a compilation.
@settings(max_examples=examples(10))
@given(layers)
def test_any_layer(compile_for_cpu: Compile, layer: Layer) -> None:
    check(compile_for_cpu, layer, "convolution", "few_columns")


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(Layer((1, 1), (3, 3), pads=(1, 1, 1, 1)), id="one pixel"),
        pytest.param(Layer((3, 4), (7, 7), pads=(3, 3, 3, 3)), id="kernel larger than the image"),
        pytest.param(Layer((1, 30), (1, 5), pads=(0, 2, 0, 2)), id="one row"),
        pytest.param(Layer((30, 1), (5, 1), pads=(2, 0, 2, 0)), id="one column"),
        pytest.param(Layer((4, 5), (2, 2), pads=(3, 4, 5, 3)), id="results all in the padding"),
        pytest.param(Layer((9, 9), (1, 1), pads=(1, 0, 0, 2)), id="1 x 1 with padding"),
        pytest.param(Layer((11, 13), (2, 2), strides=(3, 3)), id="steps longer than the kernel"),
        pytest.param(
            Layer((12, 11), (3, 3), pads=(0, 0, 1, 1), strides=(2, 2)), id="padding after only"
        ),
        pytest.param(
            Layer((3, 5), (3, 3), pads=(4, 4, 4, 4), dilations=(4, 4)),
            id="taps wider apart than the image is",
        ),
        pytest.param(Layer((6, 7), (3, 3), channels=1, filters=1), id="one channel and filter"),
        pytest.param(
            Layer((9, 31), (3, 3), channels=5, filters=40, batch=3, pads=(1, 1, 1, 1)),
            id="blocks of rows across images",
        ),
    ],
)
def test_edges(compile_for_cpu: Compile, layer: Layer) -> None:
    check(compile_for_cpu, layer)


@pytest.mark.parametrize(
    ("groups", "per_group", "filters_per_group"),
    [
        pytest.param(2, 5, 16, id="a vector"),
        pytest.param(3, 2, 32, id="two vectors"),
        pytest.param(2, 3, 27, id="a last panel that is narrower"),
        pytest.param(3, 7, 5, id="less than a vector"),
        pytest.param(4, 1, 24, id="several filters of one channel each"),
    ],
)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 1)], ids=["3x3", "1x1"])
def test_groups(
    compile_for_cpu: Compile, kernel: Pair, groups: int, per_group: int, filters_per_group: int
) -> None:
    pads = tuple(size // 2 for size in (*kernel, *kernel))
    layer = Layer(
        (7, 6), kernel, groups * per_group, groups * filters_per_group, groups=groups,
        pads=pads, batch="N",
    )  # fmt: skip
    check(compile_for_cpu, layer)


class TestFirstLayers:
    """Images of few channels are read channels first, as they lie; nothing transposes them."""

    @pytest.mark.parametrize(
        "layer",
        [
            pytest.param(
                Layer((23, 21), (7, 7), 3, strides=(2, 2), pads=(3, 3, 3, 3)), id="ResNet's"
            ),
            pytest.param(
                Layer((23, 21), (7, 7), 3, strides=(2, 2), pads=(3, 3, 3, 3), batch="N"),
                id="unknown batch",
            ),
            pytest.param(
                Layer((9, 10), (5, 5), 4, strides=(1, 2), pads=(1, 0, 4, 3), batch=3),
                id="another padding on each side",
            ),
            pytest.param(
                Layer((9, 10), (8, 8), 2, dilations=(2, 1), pads=(7, 4, 7, 4)), id="taps apart"
            ),
            pytest.param(
                Layer((4, 1), (5, 5), 3, strides=(3, 3), pads=(6, 6, 0, 0)),
                id="padding wider than all that the result reads",
            ),
        ],
    )
    def test_large_kernels_copy_rows_channels_last(
        self, compile_for_cpu: Compile, layer: Layer
    ) -> None:
        compiled = check(compile_for_cpu, layer)
        assert len(compiled.kernels) == 2, "only the result is transposed"
        assert "staged" in compiled.lowered.module["conv2d"].script()

    @pytest.mark.parametrize(
        "layer",
        [
            Layer((13, 15), (3, 3), 3, strides=(2, 2), pads=(1, 1, 1, 1)),
            Layer((13, 15), (3, 3), 3, strides=(2, 2), pads=(0, 0, 1, 1), batch="N"),
            Layer((5, 4), (3, 3), 4, 32, groups=2, batch=3, dilations=(1, 2), pads=(1, 1, 1, 1)),
        ],
    )
    def test_small_kernels_read_them_directly(self, compile_for_cpu: Compile, layer: Layer) -> None:
        compiled = check(compile_for_cpu, layer)
        assert len(compiled.kernels) == 2, "only the result is transposed"
        assert "staged" not in compiled.lowered.module["conv2d"].script()

    def test_more_channels_are_transposed_once(self, compile_for_cpu: Compile) -> None:
        compiled = check(compile_for_cpu, Layer((5, 5), (3, 3), channels=5))
        assert len(compiled.kernels) == 3


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(Layer((1, 61), (1, 60), pads=(0, 30, 0, 30)), id="taps are neighbours"),
        pytest.param(
            Layer((1, 61), (1, 60), 6, 34, groups=2, pads=(0, 30, 0, 30), batch="N"), id="groups"
        ),
        pytest.param(
            Layer((3, 99), (2, 40), 3, 5, (1, 2), (1, 47, 0, 31), (1, 2), groups=1, batch=2),
            id="steps and distances",
        ),
    ],
)
def test_long_kernels_copy_rows_with_their_padding(compile_for_cpu: Compile, layer: Layer) -> None:
    # A tile at each place of the edge would have code of its own for each tap.
    compiled = check(compile_for_cpu, layer)
    assert "staged" in compiled.lowered.module["conv2d"].script()


@pytest.mark.parametrize("kinds", [EPILOGUES[::2], EPILOGUES[1::2]], ids=", ".join)
def test_fused_epilogues(compile_for_cpu: Compile, kinds: tuple[str, ...]) -> None:
    # 19 channels leave a scalar tail behind whole vectors. All in one model, each a kernel.
    network = Network()
    for kind in kinds:
        y = Layer((5, 6), (2, 2), channels=5, filters=19, batch=2).add_to(network)
        network.output(apply_epilogue(network, kind, y, (2, 19, 4, 5), axis=1))
    compiled = compile_for_cpu(network.model())
    assert compiled.work == ["convolution"] * len(kinds)
    assert_agrees(compiled, network)


@pytest.mark.parametrize("kernel", [(3, 3), (7, 7)], ids=["direct", "staged"])
@pytest.mark.parametrize("batch", [2, "N"])
def test_threads_do_not_change_a_bit(
    compile_for_cpu: Compile, kernel: Pair, batch: int | str
) -> None:
    channels = 3 if kernel == (7, 7) else 20
    layer = Layer((24, 22), kernel, channels, filters=40, pads=(2, 2, 2, 2), batch=batch)
    network = layer.network()
    compiled = compile_for_cpu(network.model())
    assert_same_bits_on_threads(compiled, network, N=2)


def test_generic_build(compile_for_cpu: Compile) -> None:
    network = Network()
    for layer in (
        Layer((7, 8), (3, 3), pads=(1, 1, 1, 1)),
        Layer((9, 9), (7, 7), channels=3, strides=(2, 2), pads=(3, 3, 3, 3)),
    ):
        network.output(layer.add_to(network))
    compiled = compile_for_cpu(network.model(), mcpu="generic")
    assert compiled.work == ["convolution"] * 2
    assert_agrees(compiled, network)


@X86
@pytest.mark.parametrize(("mcpu", "register"), [("haswell", "ymm"), ("znver4", "zmm")])
@pytest.mark.parametrize("batch", [1, "N"])
def test_accumulators_stay_in_registers(
    compile_for_cpu: Compile, mcpu: str, register: str, batch: int | str
) -> None:
    layer = Layer((28, 28), (3, 3), 64, 64, pads=(1, 1, 1, 1), batch=batch)
    compiled = compile_for_cpu(layer.network().model(), mcpu=mcpu)
    loops = accumulating_loops(compiled.assembly, register)
    assert loops
    for loop in loops:
        assert not loop.spills, str(loop)
