"""Intermediate values come in parts that a bound on memory allows, and are always the same."""

import numpy as np
import pytest

from ingot.calibration import activations as module
from ingot.calibration.activations import Activations
from ingot.calibration.samples import Sample
from ingot.errors import DataError, UsageError
from tests.graphs import parse

MODEL = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 4] x) => (float[N, 4] y) {
 a = Neg(x)
 b = Relu(a)
 c = Abs(x)
 y = Add(b, c)
}"""
X = np.array([[1.0, -2.0, 0.0, 3.0]], np.float32)
EXPECTED = {"x": X, "a": -X, "b": np.maximum(-X, 0), "c": np.abs(X)}
EXPECTED["y"] = EXPECTED["b"] + EXPECTED["c"]


@pytest.fixture
def model():
    return parse(MODEL)


@pytest.fixture
def sessions(monkeypatch):
    """The tensors that each session which was made exposes."""
    made = []

    class Spy(module.Reference):
        def __init__(self, model, **options):
            made.append(list(options["expose"]))
            super().__init__(model, **options)

    monkeypatch.setattr(module, "Reference", Spy)
    return made


def values_of(activations, x=X):
    found = {}
    for part in activations.run(Sample("s", {"x": x})):
        assert not found.keys() & part.keys()
        found |= part
    return found


@pytest.mark.parametrize("memory", [1, 40, 10**6])
def test_any_bound_gives_the_same_values(model, memory):
    found = values_of(Activations(model, list(EXPECTED), memory=memory))
    assert found.keys() == EXPECTED.keys()
    for name, expected in EXPECTED.items():
        np.testing.assert_array_equal(found[name], expected)


def test_a_part_holds_no_more_than_the_bound(model, sessions):
    activations = Activations(model, ["a", "b", "c"], memory=2 * X.size * 8)
    values_of(activations)
    values_of(activations)
    assert sessions[1:] == [["a", "b"], ["c"]]  # the first told the shapes


def test_a_larger_sample_is_divided_anew(model, sessions):
    activations = Activations(model, ["a", "b", "c"], memory=3 * X.size * 8)
    values_of(activations)
    assert sessions[1:] == [["a", "b", "c"]]
    large = np.repeat(X, 3, axis=0)
    found = values_of(activations, large)
    np.testing.assert_array_equal(found["a"], -large)
    assert sessions[3:] == [["a"], ["b"], ["c"]]
    values_of(activations)
    assert len(sessions) == 6


def test_the_model_is_not_changed(model):
    before = [value.name for value in model.graph.outputs]
    values_of(Activations(model, ["a", "b"], memory=1))
    assert [value.name for value in model.graph.outputs] == before


def test_inputs_alone_take_no_session(model, sessions):
    found = values_of(Activations(model, ["x"]))
    np.testing.assert_array_equal(found["x"], X)
    assert sessions == []


def test_an_unknown_tensor_is_named(model):
    with pytest.raises(UsageError, match="the model computes no tensor 'nowhere'"):
        Activations(model, ["a", "nowhere"])


def test_a_sample_that_does_not_fit_is_named_before_anything_runs(model, sessions):
    with pytest.raises(DataError, match="input 'x' of s has the shape"):
        values_of(Activations(model, ["a"]), X[:, :3])
    assert sessions == []


def test_a_sample_that_fails_at_run_time_is_named():
    model = parse("""<ir_version: 10, opset_import: ["":21]>
    g (float[N] x, float[M] z) => (float[K] y) { y = Add(x, z) }""")
    sample = Sample("row 7", {"x": np.zeros(2, np.float32), "z": np.zeros(3, np.float32)})
    with pytest.raises(DataError, match="row 7 does not run: ONNX Runtime cannot run the model"):
        list(Activations(model, ["y"]).run(sample))
