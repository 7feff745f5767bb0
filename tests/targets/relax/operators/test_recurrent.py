"""LSTM, GRU and RNN in every form that ONNX has, against ONNX Runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.compiler.build import compile_model
from ingot.errors import InputError, UnsupportedOperatorError
from tests.recurrent_layers import GATES, Layer
from tests.targets.cpu.conftest import Compile, Run

CELLS = sorted(GATES)
STATES = ("initial_h", "initial_c", "P")
FUNCTIONS = ("Relu", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu",
             "Softsign", "Softplus", "Affine", "Sigmoid", "Tanh")  # fmt: skip


def agrees(
    run: Run, layer: Layer, *, steps: int = 5, batch: int = 2, lengths: list[int] | None = None
) -> None:
    arrays = layer.arrays(steps, batch)
    if lengths is not None:
        arrays["lengths"] = np.array(lengths, np.int32)
    results = run(layer.model(steps, batch), *layer.feed(arrays).values())
    for (name, expected), actual in zip(layer.expected(arrays).items(), results, strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6, err_msg=name)


def given(cell: str, *names: str) -> tuple[str, ...]:
    """Those of the names that a cell knows."""
    return tuple(name for name in names if cell == "LSTM" or name not in ("initial_c", "P"))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_directions_and_layouts(run_on_cpu: Run, cell: str, layout: int, direction: str) -> None:
    """With all the inputs that there are; one sequence is empty, one full, one neither."""
    layer = Layer(
        cell,
        hidden=19,
        given=given(cell, "B", "lengths", *STATES),
        attributes={"direction": direction, "layout": layout},
    )
    agrees(run_on_cpu, layer, steps=4, batch=3, lengths=[0, 4, 3])


@pytest.mark.parametrize("cell", CELLS)
def test_without_optional_inputs(run_on_cpu: Run, cell: str) -> None:
    agrees(run_on_cpu, Layer(cell, given=()))


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("LSTM", ("initial_c",)),
        ("LSTM", ("B", "P")),
        ("GRU", ("initial_h",)),
        ("RNN", ("B", "lengths")),
    ],
)
def test_inputs_between_may_be_left_out(run_on_cpu: Run, cell: str, names: tuple[str, ...]) -> None:
    agrees(run_on_cpu, Layer(cell, given=names))


@pytest.mark.parametrize(
    ("cell", "outputs"),
    [
        ("LSTM", ("", "", "Y_c")),
        ("LSTM", ("Y", "", "Y_c")),
        ("LSTM", ("Y",)),
        ("GRU", ("", "Y_h")),
        ("RNN", ("Y",)),
    ],
)
def test_outputs_may_be_left_out(run_on_cpu: Run, cell: str, outputs: tuple[str, ...]) -> None:
    agrees(run_on_cpu, Layer(cell, outputs=outputs))


@pytest.mark.parametrize(
    ("cell", "attributes"),
    [
        ("LSTM", {"clip": 0.3}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"input_forget": 1, "clip": 0.5}),
        ("GRU", {"clip": 0.3}),
        ("GRU", {"linear_before_reset": 1, "clip": 0.3}),
        ("GRU", {"linear_before_reset": 1, "direction": "bidirectional"}),
        ("RNN", {"clip": 0.3}),
    ],
)
def test_attributes(run_on_cpu: Run, cell: str, attributes: dict[str, object]) -> None:
    layer = Layer(cell, given=given(cell, "B", *STATES), attributes=attributes)
    agrees(run_on_cpu, layer)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_that_are_computed(run_on_cpu: Run, cell: str) -> None:
    """Weights that are inputs: packed when the code runs."""
    attributes = {"linear_before_reset": 1} if cell == "GRU" else {}
    layer = Layer(cell, given=given(cell, "B", *STATES), constant=False, attributes=attributes)
    agrees(run_on_cpu, layer)


def test_functions(run_on_cpu: Run) -> None:
    """Each function with its defaults, and with parameters where it has them, in one model."""
    layer = Layer("RNN", given=())
    arrays = layer.arrays(5, 2)
    model = layer.model()
    node = model.graph.node[0]
    forms = [(name, {}) for name in FUNCTIONS]
    forms += [
        (name, {"activation_alpha": [0.7], "activation_beta": [0.3]}) for name in FUNCTIONS[:-2]
    ]
    del model.graph.node[:], model.graph.output[:]
    expected = []
    for number, (name, parameters) in enumerate(forms):
        attributes = {"activations": [name], **parameters}
        single = dataclasses.replace(layer, attributes=attributes, outputs=("Y",))
        expected.append(single.expected(arrays)["Y"])
        model.graph.node.append(
            helper.make_node("RNN", node.input, [f"Y{number}"], hidden_size=5, **attributes)
        )
        model.graph.output.append(
            helper.make_tensor_value_info(f"Y{number}", TensorProto.FLOAT, None)
        )
    for (name, _), right, actual in zip(
        forms, expected, run_on_cpu(model, arrays["X"]), strict=True
    ):
        np.testing.assert_allclose(actual, right, rtol=2e-5, atol=2e-6, err_msg=name)


def test_parameters_go_to_the_functions_that_take_them(run_on_cpu: Run) -> None:
    """And directions may have functions of their own."""
    attributes = {
        "direction": "bidirectional",
        "activations": ["HardSigmoid", "Tanh", "LeakyRelu", "Sigmoid", "Softsign", "Elu"],
        "activation_alpha": [0.25, 0.05, 0.5],
        "activation_beta": [0.4],
    }
    agrees(run_on_cpu, Layer("LSTM", attributes=attributes))


@pytest.mark.parametrize("cell", CELLS)
def test_open_sizes(compile_for_cpu: Compile, cell: str) -> None:
    """One compilation serves all numbers of steps and sequences."""
    layer = Layer(
        cell,
        hidden=32,
        given=given(cell, "B", "lengths", *STATES),
        symbols=("T", "N"),
        attributes={"direction": "bidirectional"},
    )
    compiled = compile_for_cpu(layer.model(11, 12))
    for steps, batch in ((11, 12), (1, 1), (7, 1), (3, 6), (4, 19)):
        arrays = layer.arrays(steps, batch)
        constants = layer.arrays(11, 12)
        arrays |= {name: constants[name] for name in arrays if name in ("W", "R", "B", "P")}
        results = compiled(*layer.feed(arrays).values())
        for (name, right), actual in zip(layer.expected(arrays).items(), results, strict=True):
            np.testing.assert_allclose(actual, right, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_not_a_number_and_infinity(run_on_cpu: Run, cell: str) -> None:
    """NaN stays in its sequence, from its step on; infinity saturates the gates."""
    layer = Layer(cell, inputs=1, given=())
    arrays = layer.arrays(5, 3)
    arrays["X"][2, 0] = np.nan
    arrays["X"][2, 1] = np.inf
    results = run_on_cpu(layer.model(5, 3), *layer.feed(arrays).values())
    states = results[0][:, 0]
    assert np.isfinite(states[:2]).all()
    assert np.isnan(states[2:, 0]).all()
    assert np.isfinite(states[:, 1:]).all()
    assert np.isnan(results[1][0, 0]).all()


@pytest.mark.parametrize("constant", [True, False])
def test_float16_is_computed_in_float32(run_on_cpu: Run, constant: bool) -> None:
    layer = Layer("LSTM", given=("B", "initial_h", "initial_c"), constant=constant)
    arrays = {name: array.astype(np.float16) for name, array in layer.arrays(5, 2).items()}
    model = layer.model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for weight in model.graph.initializer:
        narrow = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(narrow, weight.name))
    wide = {name: array.astype(np.float32) for name, array in arrays.items()}
    inputs = layer.feed(arrays).values()
    for right, actual in zip(
        layer.expected(wide).values(), run_on_cpu(model, *inputs), strict=True
    ):
        assert actual.dtype == np.float16
        np.testing.assert_allclose(actual, right, atol=1e-3)


def refused(run: Run, model: onnx.ModelProto, *arrays: np.ndarray, match: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"node 'layer'.*{match}"):
        run(model, *arrays)


def test_what_is_refused(run_on_cpu: Run) -> None:
    double = Layer("LSTM", constant=False).model()
    for value in double.graph.input:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    refused(run_on_cpu, double, match="float64 is not lowered")
    unknown = Layer("RNN", attributes={"activations": ["Swish"]}).model()
    refused(run_on_cpu, unknown, match="activation 'swish' is unknown")
    wrong = Layer("GRU").model()
    wrong.graph.node[0].op_type = "LSTM"
    refused(run_on_cpu, wrong, match="dimension 1 of its w is 15, not 20")
    short = Layer("LSTM", given=("B", "P")).model()
    short.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.ones((1, 5), "f"), "P"))
    refused(run_on_cpu, short, match="dimension 1 of its peepholes is 5, not 15")


def test_sizes_that_do_not_fit_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    layer = Layer("GRU", given=("lengths", "initial_h"), symbols=("T", "N"))
    model = layer.model(4, 3)
    model.graph.input[2].type.tensor_type.shape.dim[1].dim_param = "M"
    artifact = compile_model(model, tmp_path / "gru.ingot", recipe={"verify": {"enabled": False}})
    arrays = layer.feed(layer.arrays(4, 3))
    with artifact.session() as session:
        session.run(arrays)
        with pytest.raises(InputError, match="a sequence's length 5 is not one from 0 to 4"):
            session.run(arrays | {"lengths": np.array([1, 2, 5], np.int32)})
        with pytest.raises(InputError, match="dimension 1 of its initial_h is M, not N"):
            session.run(arrays | {"initial_h": arrays["initial_h"][:, :2]})


def test_an_open_number_of_features_is_the_weights(run_on_cpu: Run) -> None:
    layer = Layer("RNN")
    model = layer.model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "features"
    arrays = layer.arrays(5, 2)
    actual = run_on_cpu(model, *layer.feed(arrays).values())[0]
    np.testing.assert_allclose(actual, layer.expected(arrays)["Y"], rtol=1e-5, atol=2e-6)
