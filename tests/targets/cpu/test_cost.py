"""The cost of a kernel is what its operators compute, not how its loops are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax, tirx
from tvm.script import tirx as T

from ingot.runtime.manifest import KernelCost
from ingot.targets.cpu.cost import INTEGER_OPERATORS, kernel_costs, operator_chain
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.quantized_networks import ACTIVATIONS, QuantizedNetwork, random_weights

Emit = Callable[[relax.BlockBuilder, list[relax.Var]], relax.Expr]
FEW = settings(max_examples=25, deadline=None)


def fused(emit: Emit, *shapes: tuple[int | tirx.Var, ...], dtypes: str = "") -> tvm.IRModule:
    """A module whose ``main`` is what ``emit`` makes of inputs, fused as for the CPU."""
    builder = relax.BlockBuilder()
    types = dtypes.split() or ["float32"] * len(shapes)
    inputs = [
        relax.Var(f"x{position}", relax.TensorType(shape, dtype))
        for position, (shape, dtype) in enumerate(zip(shapes, types, strict=True))
    ]
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(emit(builder, inputs))
        builder.emit_func_output(result)
    passes = [
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
    ]
    return tvm.transform.Sequential(passes)(builder.get())


def only_cost(module: tvm.IRModule) -> KernelCost:
    (cost,) = kernel_costs(module).values()
    return cost


@FEW
@given(
    sizes=st.tuples(*[st.integers(1, 3)] * 3),
    image=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    groups=st.sampled_from([1, 2]),
)
def test_a_convolution_costs_its_products_and_nothing_for_padding(
    sizes: tuple[int, int, int],
    image: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    groups: int,
) -> None:
    batch, inputs, outputs = sizes[0], groups * sizes[1], groups * sizes[2]

    def convolution(builder: relax.BlockBuilder, x: list[relax.Var]) -> relax.Expr:
        return relax.op.nn.conv2d(x[0], x[1], strides=stride, padding=padding, groups=groups)

    module = fused(convolution, (batch, inputs, *image), (outputs, inputs // groups, *kernel))
    height, width = (
        (size + 2 * padding - k) // stride + 1 for size, k in zip(image, kernel, strict=True)
    )
    cost = only_cost(module)
    pixels = batch * height * width
    assert cost.operations == 2 * pixels * outputs * np.prod(kernel) * inputs // groups
    whole = 4 * (batch * inputs * np.prod(image) + pixels * outputs)
    assert cost.bytes == whole + 4 * outputs * inputs // groups * np.prod(kernel)


def test_an_epilogue_costs_an_operation_for_each_element_and_its_own_inputs() -> None:
    def block(builder: relax.BlockBuilder, x: list[relax.Var]) -> relax.Expr:
        product = builder.emit(relax.op.matmul(x[0], x[1]))
        biased = builder.emit(relax.op.add(product, x[2]))
        return relax.op.clip(biased, 0.0, 6.0)

    cost = only_cost(fused(block, (5, 7), (7, 11), (11,)))
    assert cost.operators == "matmul+add+clip"
    assert cost.operations == 2 * 5 * 7 * 11 + 55 + 2 * 55  # a clip is a minimum and a maximum
    assert cost.bytes == 4 * (35 + 77 + 11 + 55)


@pytest.mark.parametrize(
    ("emit", "operations"),
    [
        (lambda b, x: relax.op.nn.softmax(x[0]), 5 * 60),  # maximum, difference, exp, sum, quotient
        (lambda b, x: relax.op.sigmoid(x[0]), 60),
        (lambda b, x: relax.op.sum(x[0], axis=1), 60),
        (lambda b, x: relax.op.permute_dims(x[0]), 0),
        (lambda b, x: relax.op.nn.pad(x[0], [1, 1, 2, 2]), 0),
        (lambda b, x: relax.op.greater(x[0], relax.const(0.0)), 60),
    ],
    ids=["softmax", "sigmoid", "sum", "transpose", "pad", "greater"],
)
def test_operations_are_arithmetic_on_data_alone(emit: Emit, operations: int) -> None:
    assert only_cost(fused(emit, (6, 10))).operations == operations


def test_of_a_table_only_the_rows_that_are_taken_are_moved() -> None:
    def take(builder: relax.BlockBuilder, x: list[relax.Var]) -> relax.Expr:
        return relax.op.take(x[0], x[1], axis=0)

    module = fused(take, (1000, 16), (3,), dtypes="float32 int64")
    cost = only_cost(module)
    assert cost.operators == "take"
    assert cost.bytes == 3 * 16 * 4 + 3 * 8 + 3 * 16 * 4


def test_a_symbolic_dimension_leaves_the_cost_open() -> None:
    module = fused(lambda b, x: relax.op.exp(x[0]), (tirx.Var("n", "int64"), 4))
    assert only_cost(module) == KernelCost("exp", None, None, 1)


def test_calls_are_counted_by_place() -> None:
    def twice(builder: relax.BlockBuilder, x: list[relax.Var]) -> relax.Expr:
        once = builder.emit(relax.op.nn.softmax(x[0]))
        return relax.op.nn.softmax(once)

    assert only_cost(fused(twice, (4, 4))).calls == 2


def written_kernel(attributes: dict[str, object]) -> tvm.IRModule:
    """A kernel that is vectorized already: 8 sums of 4 floats."""

    @T.prim_func
    def kernel(x: T.Buffer((32,), "float32"), y: T.Buffer((32,), "float32")):
        for i in range(8):
            y[T.ramp(i * 4, 1, 4)] = x[T.ramp(i * 4, 1, 4)] + x[T.ramp(i * 4, 1, 4)]

    return tvm.IRModule({"packed_kernel": kernel.with_attrs(attributes)})


def test_a_kernel_may_state_its_cost() -> None:
    stated = {"ingot.operations": 123, "ingot.family": "conv2d+relu"}
    assert only_cost(written_kernel(stated)) == KernelCost("conv2d+relu", 123, 2 * 128, 0)
    assert only_cost(written_kernel({**stated, "ingot.bytes": 77})).bytes == 77


def test_a_view_is_the_memory_that_it_views() -> None:
    @T.prim_func
    def rows(table: T.Buffer((100, 8), "float32"), y: T.Buffer((2, 8), "float32")):
        T.func_attr({"ingot.operations": 0})
        flat = T.decl_buffer((800,), data=table.data)
        for i in range(2):
            y[i, T.ramp(0, 1, 8)] = flat[T.ramp(i * 80, 1, 8)]

    assert only_cost(tvm.IRModule({"rows": rows})).bytes == 2 * 8 * 4 + 2 * 8 * 4


def test_a_vector_of_operations_is_as_many() -> None:
    assert only_cost(written_kernel({})).operations == 32
    assert only_cost(written_kernel({})).bytes == 2 * 128


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("fused_conv2d12_add7_tir_sigmoid3_multiply7", "conv2d+add+sigmoid+multiply"),
        ("max_pool2d", "max_pool2d"),
        ("max_pool2d3", "max_pool2d"),
        ("fused_layer_norm1_strided_slice_take2", "layer_norm+strided_slice+take"),
        ("conv2d_transpose", "conv2d_transpose"),
        ("attention", "attention"),
        ("fused_integer_conv2d11_cast_multiply4_quantize", "integer_conv2d+cast+multiply+quantize"),
        ("reshape10", "reshape"),
        ("something_of_my_own", "something+of+my+own"),
    ],
)
def test_operators_are_read_from_the_name(name: str, chain: str) -> None:
    assert operator_chain(name) == chain


def test_kernels_of_integers_are_known_by_their_operators(compile_for_cpu: Compile) -> None:
    network = QuantizedNetwork()
    x = network.quantized(network.input(1, 8, 6, 5), ACTIVATIONS)
    y = network.apply("Conv", x, network.weights(random_weights(16, 8, 3, 3)), pads=[1] * 4)
    network.output(network.apply("Relu", y))
    rows = network.quantized(network.input(7, 24), ACTIVATIONS)
    network.output(network.apply("MatMul", rows, network.weights(random_weights(24, 10))))
    compiled = compile_for_cpu(network.model())
    integer = {name for name, family in compiled.kernels.items() if family.startswith("integer_")}
    costs = compiled.lowered.kernels
    assert len(integer) == 2
    for name, cost in costs.items():
        assert (name in integer) == (not INTEGER_OPERATORS.isdisjoint(cost.operators.split("+")))


WIDENED = """<ir_version: 10, opset_import: ["": 20]>
    g (float[2,8,24,24] x) => (float[2,64,12,12] y) {
      a = Conv (x, w)
      b = Relu (a)
      y = Conv <pads = [1,1,1,1], strides = [2,2], group = 64> (b, v)
    }"""


def test_two_convolutions_in_one_kernel_move_no_image_between_them(
    compile_for_cpu: Compile,
) -> None:
    model = onnx.parser.parse_model(WIDENED)
    generator = np.random.default_rng(0)
    for name, shape in {"w": (64, 8, 1, 1), "v": (64, 1, 3, 3)}.items():
        weight = generator.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    cpu = describe_cpu("znver4", threads=1)
    small = dataclasses.replace(cpu, core=dataclasses.replace(cpu.core, l2_bytes=1 << 16))
    lowered = compile_for_cpu(model, small).lowered
    (name,) = [name for name, cost in lowered.kernels.items() if cost.operators == "expansion"]
    stated = lowered.kernels[name]
    assert stated.bytes == 4 * (2 * 8 * 24 * 24 + 64 * 8 + 64 * 9 + 2 * 64 * 12 * 12)
