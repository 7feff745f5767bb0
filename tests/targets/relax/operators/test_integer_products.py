"""Products of 8-bit integers are exact, wherever the zero points come from."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from ingot.passes.quantization.walk import patches_of
from tests.targets.cpu.conftest import Compile, Run

NAMES = ("a", "b", "az", "bz")


def integers(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    limits = np.iinfo(dtype)
    generator = np.random.default_rng(seed)
    return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@dataclasses.dataclass(frozen=True)
class Product:
    """A node with two operands, and zero points or none."""

    left: np.ndarray
    right: np.ndarray
    left_zero: np.ndarray | None = None
    right_zero: np.ndarray | None = None
    attributes: dict[str, object] = dataclasses.field(default_factory=dict)

    @property
    def arrays(self) -> list[np.ndarray | None]:
        return [self.left, self.right, self.left_zero, self.right_zero]


def model_of(
    operator: str, products: Sequence[Product], constants: Sequence[str]
) -> onnx.ModelProto:
    """A model of several nodes; operands that are not constants are its inputs."""
    nodes, inputs, weights, outputs = [], [], [], []
    for number, product in enumerate(products):
        names = []
        for role, array in zip(NAMES, product.arrays, strict=True):
            names.append("" if array is None else f"{role}{number}")
            if array is None:
                continue
            if role in constants:
                weights.append(numpy_helper.from_array(array, names[-1]))
            else:
                dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
                inputs.append(helper.make_tensor_value_info(names[-1], dtype, array.shape))
        outputs.append(helper.make_empty_tensor_value_info(f"y{number}"))
        nodes.append(
            helper.make_node(operator, names, [f"y{number}"], f"n{number}", **product.attributes)
        )
    graph = helper.make_graph(nodes, "products", inputs, outputs, weights)
    opset = helper.make_opsetid("", 20)
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[opset], ir_version=10)
    )


def feeds_of(products: Sequence[Product], constants: Sequence[str]) -> list[np.ndarray]:
    return [
        array
        for product in products
        for role, array in zip(NAMES, product.arrays, strict=True)
        if array is not None and role not in constants
    ]


def centred(values: np.ndarray, zero: np.ndarray | None, axis: int) -> np.ndarray:
    if zero is None:
        return values.astype(int)
    along = np.expand_dims(zero, axis) if zero.ndim == 1 and zero.size > 1 else zero
    return values.astype(int) - along


ZEROS = [None, np.array(113, np.uint8), np.array([200], np.uint8)]
LEFT_ZEROS = [*ZEROS, integers("uint8", 5, seed=3)]
RIGHT_ZEROS = [*ZEROS, integers("uint8", 24, seed=4)]
MATRICES = [
    Product(integers("uint8", 5, 37, seed=index), integers("uint8", 37, 24, seed=index), *zeros)
    for index, zeros in enumerate(itertools.product(LEFT_ZEROS, RIGHT_ZEROS))
]
TYPES = [
    Product(
        integers(left, 2, 3, 600),
        integers(right, 600, 40),
        integers(left, seed=1),
        integers(right, seed=2),
    )
    for left, right in itertools.product(("int8", "uint8"), repeat=2)
]
BATCHES = [
    Product(
        integers("uint8", 2, 3, 5, 16),
        integers("int8", 3, 16, 7),
        integers("uint8", 2, 3, 5, 1),
        integers("int8", 3, 1, 7),
    ),
    Product(integers("uint8", 16), integers("int8", 16, 7), integers("uint8")),
]


@pytest.mark.parametrize("constants", [("b", "bz"), ("b", "az", "bz"), ("b",), ()], ids=str)
@pytest.mark.parametrize("products", [MATRICES, TYPES, BATCHES], ids=["zeros", "types", "batches"])
def test_matrices(run_on_cpu: Run, products: list[Product], constants: tuple[str, ...]) -> None:
    model = model_of("MatMulInteger", products, constants)
    results = run_on_cpu(model, *feeds_of(products, constants))
    for product, actual in zip(products, results, strict=True):
        left = centred(product.left, product.left_zero, -1)
        right = centred(product.right, product.right_zero, 0)
        assert actual.dtype == np.int32
        np.testing.assert_array_equal(actual, left @ right)


FILTER_ZEROS = [*ZEROS, integers("uint8", 6, seed=4)]
IMAGES = [
    Product(
        integers("uint8", 2, 8, 7, 7, seed=index),
        integers("uint8", 6, 8, 3, 3, seed=index),
        *zeros,
        {"pads": [1, 0, 1, 2], "strides": [2, 1]},
    )
    for index, zeros in enumerate(itertools.product(ZEROS, FILTER_ZEROS))
]
SIGNED_IMAGES = [
    Product(
        integers("int8", 1, 8, 7, 6),
        integers(dtype, 6, 8, 3, 2),
        integers("int8", seed=1),
        integers(dtype, seed=2),
        {"auto_pad": "SAME_UPPER"},
    )
    for dtype in ("int8", "uint8")
]
GROUPS = [
    Product(
        integers("uint8", 1, channels * 4, 6, 6),
        integers("uint8", 8, channels, 3, 3),
        integers("uint8", seed=1),
        integers("uint8", seed=2),
        {"group": 4, "dilations": [2, 1]},
    )
    for channels in (1, 16, 40)
]
RANKS = [
    Product(
        integers("uint8", 2, 8, *[5] * axes),
        integers("int8", 6, 8, *[3] * axes),
        integers("uint8", seed=1),
        None,
        {"pads": [1] * 2 * axes},
    )
    for axes in (1, 3)
]


@pytest.mark.parametrize("constants", [("b", "bz"), ("b", "az", "bz"), ()], ids=str)
@pytest.mark.parametrize(
    "products",
    [IMAGES, SIGNED_IMAGES, GROUPS, RANKS],
    ids=["zeros", "signed", "groups", "ranks"],
)
def test_convolutions(run_on_cpu: Run, products: list[Product], constants: tuple[str, ...]) -> None:
    model = model_of("ConvInteger", products, constants)
    results = run_on_cpu(model, *feeds_of(products, constants))
    for product, actual in zip(products, results, strict=True):
        assert actual.dtype == np.int32
        np.testing.assert_array_equal(actual, _convolved(product))


def _convolved(product: Product) -> np.ndarray:
    zeros = product.right_zero
    if zeros is not None and zeros.size > 1:
        zeros = zeros.reshape(-1, *[1] * (product.right.ndim - 1))
    filters = centred(product.right, zeros, 0)
    node = ir.from_proto(model_of("ConvInteger", [product], [])).graph.node(0)
    patches = patches_of(centred(product.left, product.left_zero, 0), node, filters.shape[2:])
    groups = product.attributes.get("group", 1)
    taps = "ijk"[: filters.ndim - 2]
    parts = [
        np.einsum(f"nc...{taps},mc{taps}->nm...", *pair)
        for pair in zip(
            np.split(patches, groups, axis=1), np.split(filters, groups, axis=0), strict=True
        )
    ]
    return np.concatenate(parts, axis=1)


def test_a_computed_zero_point_belongs_to_the_kernels_epilogue(compile_for_cpu: Compile) -> None:
    product = Product(integers("uint8", 5, 64), integers("uint8", 64, 48), integers("uint8"))
    compiled = compile_for_cpu(model_of("MatMulInteger", [product], ["b"]))
    (kernel,) = (name for name, family in compiled.kernels.items() if family == "integer_matmul")
    assert compiled.lowered.kernels[kernel].operators.endswith("subtract")
