"""Conv and ConvTranspose of one to three axes: every attribute, fixed and open sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.errors import UnsupportedOperatorError
from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import ROUNDING, Network, assert_agrees, normal

SIZES = {1: (9,), 2: (6, 5), 3: (3, 4, 5)}

# Attributes of one axis, used for all of them; ``group`` and ``filters`` (per group) are of the
# weights.
TRANSPOSED: dict[str, dict[str, Any]] = {
    "stride as large as the kernel": {"kernel": 2, "strides": 2, "filters": 3},
    "whole phases, cut": {"kernel": 4, "strides": 2, "pads": 1, "filters": 5},
    "phases of unequal length": {"kernel": 3, "strides": 2, "pads": 1, "output_padding": 1},
    "stride one": {"kernel": 3, "strides": 1, "pads": 1},
    "stride beyond the kernel": {"kernel": 2, "strides": 3},
    "dilated": {"kernel": 3, "strides": 2, "dilations": 3, "pads": 2},
    "dilation and stride in common": {"kernel": 2, "strides": 2, "dilations": 2},
    "groups": {"kernel": 4, "strides": 2, "group": 2, "filters": 3},
    "a filter per channel": {"kernel": 4, "strides": 2, "pads": 1, "group": 4, "filters": 1},
    "same, upper": {"kernel": 3, "strides": 2, "auto_pad": "SAME_UPPER"},
    "same, lower": {"kernel": 2, "strides": 1, "auto_pad": "SAME_LOWER"},
    "valid": {"kernel": 3, "strides": 2, "auto_pad": "VALID", "pads": 1},
    "padding beyond the first tap": {"kernel": 2, "strides": 2, "pads": 2},
}

ORDINARY: dict[str, dict[str, Any]] = {
    "padded": {"kernel": 3, "pads": 1},
    "strides and dilations": {"kernel": 3, "strides": 2, "dilations": 2, "pads": 2},
    "groups": {"kernel": 3, "pads": 1, "group": 2, "filters": 3},
    "a filter per channel": {"kernel": 3, "pads": 1, "group": 4, "filters": 1},
    "filters per channel": {"kernel": 2, "group": 4, "filters": 2},
    "same, upper": {"kernel": 3, "strides": 2, "auto_pad": "SAME_UPPER"},
    "same, lower": {"kernel": 2, "auto_pad": "SAME_LOWER"},
    "same, stride beyond the kernel": {"kernel": 2, "strides": 3, "auto_pad": "SAME_UPPER"},
    "valid": {"kernel": 3, "auto_pad": "VALID"},
}


def every_form(operator: str, forms: dict[str, dict[str, Any]], rank: int, *, open_: bool):
    """A model of all forms side by side, on one image of four channels."""
    network = Network()
    image = network.input(
        *(("n", 4, *(f"s{axis}" for axis in range(rank))) if open_ else (2, 4, *SIZES[rank]))
    )
    for number, form in enumerate(forms.values()):
        attributes = {
            name: [value] * (2 * rank if name == "pads" else rank)
            for name, value in form.items()
            if name in ("strides", "dilations", "pads", "output_padding")
        }
        if "auto_pad" in form:
            attributes.pop("pads", None)
            attributes["auto_pad"] = form["auto_pad"]
        group, filters = form.get("group", 1), form.get("filters", 2)
        kernel = [form["kernel"]] * rank
        shape = (group * filters, 4 // group) if operator == "Conv" else (4, filters)
        operands = [image, network.weight(*shape, *kernel)]
        if number % 2:
            operands.append(network.weight(group * filters))
        network.output(network.apply(operator, *operands, group=group, **attributes))
    return network


@pytest.mark.parametrize("rank", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_forms(compile_for_cpu: Compile, operator: str, rank: int) -> None:
    forms = ORDINARY if operator == "Conv" else TRANSPOSED
    network = every_form(operator, forms, rank, open_=False)
    assert_agrees(compile_for_cpu(network.model()), network)


@pytest.mark.parametrize(
    ("operator", "rank", "names"),
    [
        ("Conv", 2, ("strides and dilations", "a filter per channel", "same, upper")),
        pytest.param(
            "ConvTranspose",
            2,
            ("whole phases, cut", "phases of unequal length"),
            marks=pytest.mark.slow,
        ),
        ("ConvTranspose", 1, ("same, upper", "dilated", "groups")),
    ],
)
def test_open_sizes(
    compile_for_cpu: Compile, operator: str, rank: int, names: tuple[str, ...]
) -> None:
    forms = ORDINARY if operator == "Conv" else TRANSPOSED
    network = every_form(operator, {name: forms[name] for name in names}, rank, open_=True)
    model = network.model()
    compiled = compile_for_cpu(model)
    reference = Reference(model)
    for sizes in ((6, 5), (7, 9)):
        image = normal(2, 4, *sizes[:rank])
        expected = reference.run({model.graph.input[0].name: image})
        for actual, wanted in zip(compiled(image), expected.values(), strict=True):
            np.testing.assert_allclose(actual, wanted, atol=ROUNDING * np.abs(wanted).max())


def single(attributes: dict[str, Any], weights: np.ndarray, image: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("wanted", [[10, 8], [9, 7]], ids=str)
def test_given_size_of_the_result(
    compile_for_cpu: Compile, auto_pad: str, wanted: list[int]
) -> None:
    attributes = {"strides": [2, 2], "output_shape": wanted, "auto_pad": auto_pad}
    model = single(attributes, normal(2, 3, 3, 3), [1, 2, 5, 4])
    image = normal(1, 2, 5, 4)
    (actual,) = compile_for_cpu(model)(image)
    expected = Reference(model).run({"x": image})["y"]
    np.testing.assert_allclose(actual, expected, atol=ROUNDING * np.abs(expected).max())


def test_given_size_is_not_for_open_images(compile_for_cpu: Compile) -> None:
    model = single({"output_shape": [8, 8]}, normal(2, 3, 3, 3), [1, 2, "h", "w"])
    with pytest.raises(UnsupportedOperatorError, match="node 'up'.*output_shape.*open size"):
        compile_for_cpu(model)


def test_no_product_with_an_inserted_zero(compile_for_cpu: Compile) -> None:
    """An infinite input stays where it is; between the taps there is nothing to multiply."""
    image = np.zeros((1, 1, 2, 2), np.float32)
    image[0, 0, 0, 0] = np.inf
    model = single({"strides": [3, 3]}, np.ones((1, 1, 2, 2), np.float32), [1, 1, 2, 2])
    (actual,) = compile_for_cpu(model)(image)
    np.testing.assert_array_equal(actual, Reference(model).run({"x": image})["y"])


@pytest.mark.parametrize("kernel", [2, 3])
def test_between_convolutions(compile_for_cpu: Compile, kernel: int) -> None:
    """What follows is done in the convolutions' kernels, and the image stays channels last."""
    network = Network()
    image = network.input(1, 3, 12, 10)
    x = network.apply("Conv", image, network.weight(8, 3, 3, 3), pads=[1] * 4)
    x = network.apply("Relu", x)
    up = network.weight(8, 6, kernel, kernel)
    x = network.apply("ConvTranspose", x, up, network.weight(6), strides=[2, 2])
    x = network.apply("Relu", x)
    network.output(network.apply("Conv", x, network.weight(4, 6, 3, 3)))
    compiled = compile_for_cpu(network.model())
    assert_agrees(compiled, network)
    phases = ["matmul"] if kernel == 2 else ["convolution"] * 4
    assert sorted(compiled.work) == sorted(["convolution"] * 2 + phases + ["interleave"])
