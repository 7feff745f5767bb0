"""The executor: data movement, whole nets, and streams that are not what they should be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.errors import ArtifactError, InputError
from ingot.runtime.npu.command_stream.decode import CommandStreamError, Opcode, decode
from ingot.runtime.npu.executor import RegionExecutor, make_executor
from ingot.runtime.npu.region import Area, Region
from tests.runtime.npu.command_stream.regions import check_equal, make_region, random_inputs
from tests.runtime.npu.command_stream.tosa import ACCELERATORS, Graph, Value, attribute, reference

accelerators = st.sampled_from(list(ACCELERATORS))
shapes = st.tuples(st.just(1), *[st.integers(1, 9)] * 2, st.integers(1, 40))
dtypes = st.sampled_from(["int8", "int16"])
some = settings(max_examples=20, deadline=None)


def simulator(region: Region) -> RegionExecutor:
    return make_executor("command-stream", region)


@given(accelerators, shapes, st.tuples(*[st.integers(0, 3)] * 6), st.integers(-128, 127), dtypes)
@some
def test_pad(accelerator, shape, amounts, value, dtype):
    pairs = ((0, 0), *zip(amounts[::2], amounts[1::2], strict=True))
    graph = Graph()
    check_equal(graph.output(graph.pad(graph.input(shape, dtype), pairs, value)), accelerator)


@given(
    accelerators, shapes, st.integers(1, 3), st.lists(st.integers(1, 20), min_size=2, max_size=3)
)
@some
def test_concat(accelerator, shape, axis, sizes):
    graph = Graph()
    parts = [graph.input((*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]
    check_equal(graph.output(graph.concat(parts, axis)), accelerator)


@given(accelerators, shapes, st.data(), dtypes)
@some
def test_slice(accelerator, shape, data, dtype):
    start = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    size = tuple(
        data.draw(st.integers(1, whole - first)) for whole, first in zip(shape, start, strict=True)
    )
    graph = Graph()
    check_equal(graph.output(graph.slice(graph.input(shape, dtype), start, size)), accelerator)


@given(
    accelerators, shapes, st.permutations([1, 2, 3]), st.sampled_from(["int8", "int16", "int32"])
)
@some
def test_transpose(accelerator, shape, order, dtype):
    graph = Graph()
    result = graph.transpose(graph.input(shape, dtype), (0, *order))
    check_equal(graph.output(result), accelerator)


@given(accelerators, shapes, st.sampled_from([1, 2]))
@some
def test_reverse(accelerator, shape, axis):
    graph = Graph()
    x = graph.input(shape)
    result = graph.op("REVERSE", [x], attribute("Reverse", axis), shape, "int8")
    check_equal(graph.output(result), accelerator)


@given(accelerators, st.integers(1, 6), st.integers(1, 6), st.integers(1, 20), st.integers(1, 3))
@some
def test_nearest_neighbours(accelerator, height, width, depth, power):
    factor = 2**power
    graph = Graph()
    x = graph.input((1, height, width, depth))
    scale, offset = (2 * factor, 2) * 2, (-factor + 1,) * 2
    result = graph.resize(x, "NEAREST", scale, offset, (factor - 1,) * 2)
    check_equal(graph.output(result), accelerator)


@given(accelerators, st.tuples(*[st.integers(1, 12)] * 4), st.integers(-128, 127))
@some
def test_matrix_product(accelerator, sizes, zero_point):
    batch, rows, inner, columns = sizes
    graph = Graph()
    a, b = graph.input((batch, rows, inner)), graph.input((batch, inner, columns))
    product = graph.matmul(a, b, (zero_point, -zero_point if zero_point > -128 else 0))
    check_equal(graph.output(graph.rescale(product, 1 << 30, 39)), accelerator)


def residual_network(size: int, depth: int, seed: int = 0) -> Graph:
    """A small net of inverted residuals: strided and depthwise layers, additions, an average."""
    random = np.random.default_rng(seed)
    graph = Graph()

    def layer(x: Value, channels: int, kernel: int, stride: int, depthwise: bool = False) -> Value:
        inputs = 1 if depthwise else x.shape[3]
        before = kernel // 2
        after = before - (x.shape[1] + 2 * before - kernel) % stride
        placed = {"zero_point": -3, "pad": (before, after) * 2, "stride": (stride, stride)}
        bias = random.integers(-3000, 3000, channels, np.int32)
        if depthwise:
            weights = random.integers(-127, 128, (kernel, kernel, channels, 1), np.int8)
            sums = graph.depthwise(x, weights, bias, **placed)
        else:
            weights = random.integers(-127, 128, (channels, kernel, kernel, inputs), np.int8)
            sums = graph.conv2d(x, weights, bias, **placed)
        shift = round(31 - np.log2(60 / (75 * 75 * np.sqrt(kernel * kernel * inputs))))
        multipliers = random.integers(1 << 30, (1 << 31) - 1, channels)
        result = graph.rescale(sums, multipliers, np.full(channels, shift), output_zero_point=-3)
        return graph.clamp(result, -3, 127)

    x = layer(graph.input((1, size, size, 3)), depth, 3, 2)
    for stride in (1, 2):
        wide = layer(x, 4 * depth, 1, 1)
        narrow = layer(layer(wide, 4 * depth, 3, stride, depthwise=True), depth, 1, 1)
        if stride == 1:
            both = (
                graph.rescale(value, 1 << 30, 11, input_zero_point=-3, dtype="int32")
                for value in (x, narrow)
            )
            narrow = graph.rescale(graph.binary("ADD", *both), 1 << 30, 49, output_zero_point=-3)
        x = narrow
    area = x.shape[1:3]
    x = graph.avg_pool(x, area, (1, 1), zero_points=(-3, -3))
    return graph.output(layer(x, 10, 1, 1))


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize(("size", "depth"), [(33, 16), (96, 24)])
def test_a_net_equals_the_reference_model(accelerator, size, depth):
    check_equal(residual_network(size, depth), accelerator)


@pytest.fixture(scope="module")
def region() -> Region:
    return make_region(residual_network(16, 8), "ethos-u55-128")


def test_runs_do_not_depend_on_each_other(region):
    executor = make_executor("command-stream", region)
    first, second = (
        random_inputs(residual_network(16, 8)),
        random_inputs(residual_network(16, 8), 1),
    )
    once = executor.run(first)[0]
    assert not np.array_equal(once, executor.run(second)[0])
    np.testing.assert_array_equal(executor.run(first)[0], once)


def test_inputs_are_checked(region):
    with pytest.raises(InputError, match="takes 1 inputs"):
        simulator(region).run([])


@pytest.mark.parametrize("accelerator", ["ethos-u85-256", "ethos-u65-512"])
def test_other_products_are_refused(region, accelerator):
    other = dataclasses.replace(region.configuration, accelerator=accelerator)
    with pytest.raises(ArtifactError, match=f"{accelerator}, which the executor .* not simulate"):
        simulator(dataclasses.replace(region, configuration=other))


# What divides the work into blocks has no effect on what is computed one after the other; the
# tiles that a feature map does not reach, and NHWC's STRIDE_C, are not read.
WITHOUT_EFFECT = {
    Opcode.OP_STOP,
    Opcode.SET_BLOCKDEP,
    Opcode.SET_AB_START,
    Opcode.SET_IFM_IB_END,
    Opcode.SET_IFM2_IB_START,
    Opcode.SET_OFM_BLK_HEIGHT_M1,
    Opcode.SET_OFM_BLK_WIDTH_M1,
    *(opcode for opcode in Opcode if opcode.name.endswith(("BASE1", "BASE2", "BASE3"))),
    *(opcode for opcode in Opcode if opcode.name.endswith(("HEIGHT1_M1", "STRIDE_C"))),
}
# Vela's codec ends the process on what is no weight stream; digests are what protect from it.
TOO_DANGEROUS = {Opcode.SET_WEIGHT_BASE, Opcode.SET_WEIGHT_LENGTH, Opcode.SET_WEIGHT_REGION}


def changed(region: Region, word: int, bit: int) -> Region:
    words = np.frombuffer(region.command_stream, "<u4").copy()
    words[word] ^= 1 << bit
    return dataclasses.replace(region, command_stream=words.tobytes())


def is_noticed(region: Region, given: list[np.ndarray], expected: np.ndarray) -> bool:
    """Whether a region fails with a clear error or gives another result."""
    try:
        return not np.array_equal(simulator(region).run(given)[0], expected)
    except CommandStreamError as error:
        assert "\n" not in str(error)
        return True


def few_operations() -> Graph:
    """A convolution, an addition with its input, a table and a maximum."""
    random = np.random.default_rng(4)
    graph = Graph()
    x = graph.input((1, 5, 6, 8))
    weights = random.integers(-127, 128, (8, 3, 3, 8), np.int8)
    bias = random.integers(-3000, 3000, 8, np.int32)
    sums = graph.conv2d(x, weights, bias, zero_point=5, pad=(1, 1, 1, 1))
    y = graph.rescale(sums, np.full(8, 1 << 30), np.full(8, 40))
    wide = (graph.rescale(value, 1 << 30, 30, dtype="int32") for value in (x, y))
    y = graph.rescale(graph.binary("ADD", *wide), 1 << 30, 31)
    y = graph.table(y, random.permutation(np.arange(-128, 128)).astype(np.int8))
    return graph.output(graph.max_pool(y, (2, 2), (1, 1)))


def test_a_changed_command_is_noticed():
    """Of each kind of command that has an effect, one of a few changed bits at least."""
    region = make_region(few_operations(), "ethos-u55-128")
    given = random_inputs(few_operations())
    expected = simulator(region).run(given)[0]
    noticed: dict[Opcode, bool] = {}
    word = 0
    for command in decode(region.command_stream):
        opcode = command.opcode
        place = word + opcode.has_payload
        word = place + 1
        for bit in range(16):
            if opcode in WITHOUT_EFFECT | TOO_DANGEROUS or noticed.get(opcode):
                continue
            other = changed(region, place, bit + 16 * (not opcode.has_payload))
            noticed[opcode] = is_noticed(other, given, expected)
    assert [opcode.title for opcode, once in noticed.items() if not once] == []
    assert len(noticed) > 40


@given(word=st.integers(0, 2**32 - 1), bit=st.integers(0, 31))
@settings(max_examples=60, deadline=None)
def test_a_changed_word_has_another_digest(region, word, bit):
    other = changed(region, word % (len(region.command_stream) // 4), bit)
    with pytest.raises(ArtifactError, match=r"command_stream\.bin does not have the digest"):
        other.check(region.digests)


@given(place=st.integers(0, 2**32 - 1), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_changed_weight_has_another_digest(region, place, bit):
    data = bytearray(region.weights)
    data[place % len(data)] ^= 1 << bit
    other = dataclasses.replace(region, weights=bytes(data))
    with pytest.raises(ArtifactError, match=r"weights\.bin does not have the digest"):
        other.check(region.digests)


def test_a_changed_bias_changes_its_channel_alone():
    """The simulator reads what is in the file: a bias of 2**24 saturates its channel."""
    graph = Graph()
    x = graph.input((1, 4, 4, 8))
    weights = np.random.default_rng(5).integers(-127, 128, (6, 3, 3, 8), np.int8)
    sums = graph.conv2d(x, weights, np.zeros(6, np.int32))
    region = make_region(graph.output(graph.rescale(sums, 1 << 30, 41)), "ethos-u55-64")
    given = random_inputs(graph)
    (expected,) = simulator(region).run(given)
    (base,) = (
        command.payload
        for command in decode(region.command_stream)
        if command.opcode is Opcode.SET_SCALE_BASE
    )
    for channel in range(6):
        data = bytearray(region.weights)
        data[base + 10 * channel + 3] = 1
        other = dataclasses.replace(region, weights=bytes(data))
        (actual,) = simulator(other).run(given)
        saturated = expected.copy()
        saturated[..., channel] = 127
        np.testing.assert_array_equal(actual, saturated)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (3, 2, 1, 5), (5, 1, 1, 7)])
def test_a_changed_weight_changes_the_result_as_it_should(accelerator, place):
    """The commands of one net with the weights of another, of which one has the other sign."""

    def net(weights: np.ndarray) -> Graph:
        graph = Graph()
        sums = graph.conv2d(graph.input((1, 4, 4, 8)), weights, np.zeros(6, np.int32))
        return graph.output(graph.rescale(sums, 1 << 30, 39))

    weights = np.random.default_rng(6).integers(1, 128, (6, 3, 3, 8), np.int8)
    other = weights.copy()
    other[place] *= -1
    region, changed_region = (
        make_region(net(weights), accelerator),
        make_region(net(other), accelerator),
    )
    assert len(region.weights) == len(changed_region.weights)
    given = random_inputs(net(weights))
    mixed = dataclasses.replace(region, weights=changed_region.weights)
    (before,), (after,) = simulator(region).run(given), simulator(mixed).run(given)
    np.testing.assert_array_equal(after, reference(changed_region.graph, given)[0])
    different = np.unique(np.nonzero(before != after)[3])
    np.testing.assert_array_equal(different, [place[0]])


def test_an_access_outside_of_scratch_names_its_command(region):
    small = dataclasses.replace(
        region, scratch=Area(region.scratch.base, region.scratch.size - 900)
    )
    given = random_inputs(residual_network(16, 8))
    pattern = (
        r"NPU region r0: command \d+ \(NPU_OP_\w+\) cannot be executed: .FM takes bytes \d+ to"
    )
    with pytest.raises(CommandStreamError, match=pattern):
        simulator(small).run(given)


def test_an_operation_without_its_registers_names_them(region):
    commands = np.frombuffer(region.command_stream, "<u4")
    first = next(i for i, word in enumerate(commands) if word & 0xFFFF == Opcode.SET_IFM_REGION)
    cut = dataclasses.replace(region, command_stream=np.delete(commands, first).tobytes())
    with pytest.raises(CommandStreamError, match="depends on NPU_SET_IFM_REGION, which no command"):
        simulator(cut).run(random_inputs(residual_network(16, 8)))


def test_the_reference_executor_agrees(region):
    given = random_inputs(residual_network(16, 8))
    (by_reference,) = make_executor("reference", region).run(given)
    np.testing.assert_array_equal(by_reference, reference(region.graph, given)[0])
    np.testing.assert_array_equal(by_reference, simulator(region).run(given)[0])
