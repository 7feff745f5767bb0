"""Zeros in a pattern, for which the other weights make up."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pydantic
import pytest

from ingot.calibration.collection import Calibration
from ingot.passes.base import PassOutcome
from ingot.passes.pruning import Sparsify
from ingot.passes.pruning.sparse_columns import Pattern, Share, sparse_columns
from ingot.passes.pruning.sparsity import SparsifyOptions
from ingot.passes.quantization.rounding import round_columns
from tests.passes.pruning.networks import Network
from tests.passes.pruning.test_channels import run
from tests.passes.pruning.test_compensation import samples


def wide_network() -> ir.Model:
    made = Network(3)
    last = made.conv("x", 8, kernel=3)
    last = made.conv(made.add("Relu", [last], 8), 12, kernel=3)
    last = made.conv(last, 12, kernel=3, group=3)
    return made.finish(made.add("Relu", [last], 12))


def sparsify(model: ir.Model, **options: object) -> PassOutcome:
    pass_ = Sparsify(SparsifyOptions(**options))
    pass_.calibrate_with(Calibration(samples()))
    return pass_(model)


def correlated(inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and second moments of inputs that say much of each other."""
    random = np.random.default_rng(2)
    x = random.normal(size=(400, inputs // 2)) @ random.normal(size=(inputs // 2, inputs))
    x += 0.3 * random.normal(size=x.shape)
    return random.normal(size=(6, inputs)), x.T @ x / len(x)


@pytest.mark.parametrize(("stay", "length"), [(2, 4), (1, 4), (1, 2)])
def test_of_so_many_weights_along_the_input_channels_so_many_stay(stay: int, length: int) -> None:
    model = wide_network()
    outcome = sparsify(model, pattern=f"{stay}:{length}")
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    weights = convolutions[1].inputs[1].const_value.numpy()
    runs = np.moveaxis(weights, 1, -1).reshape(-1, length)
    assert (np.count_nonzero(runs, axis=1) == stay).all()
    assert outcome.applied == 2
    for row in outcome.facts["layers"]:
        assert 0 < row["relative_error"] < 1


def test_what_cannot_have_the_pattern_stays_and_the_reason_is_told() -> None:
    model = wide_network()
    before = [value.const_value.numpy() for value in model.graph.initializers.values()]
    outcome = sparsify(model)
    first, _, grouped = (node for node in model.graph if node.op_type == "Conv")
    reasons = {one.node: one.reason for one in outcome.declined}
    assert reasons[first.name] == "its 3 input channels are no multiple of 4"
    assert "grouped" in reasons[grouped.name]
    for node in (first, grouped):
        array = node.inputs[1].const_value.numpy()
        assert any(array is one or np.array_equal(array, one) for one in before)
        assert np.count_nonzero(array) == array.size


def test_a_part_anywhere() -> None:
    model = wide_network()
    sparsify(model, pattern=None, ratio=0.7)
    weights = next(iter(model.graph)).inputs[1].const_value.numpy()
    assert np.count_nonzero(weights) == weights.size - int(0.7 * weights.size)


@pytest.mark.parametrize("pattern", [Pattern(2, 4), Share(0.5)])
def test_the_output_changes_less_than_by_zeros_alone(pattern: Pattern | Share) -> None:
    weights, moments = correlated(32)

    def error(other: np.ndarray) -> float:
        return float(np.einsum("ri,ij,rj->", other - weights, moments, other - weights))

    found = sparse_columns(weights, moments, pattern)
    runs = weights.reshape(-1, 4)
    alone = np.where(np.argsort(np.argsort(np.abs(runs))) < 2, 0, runs).reshape(weights.shape)
    assert np.count_nonzero(found) == weights.size // 2
    assert error(found) < 0.7 * error(alone)


def test_the_sparse_model_is_nearer_to_the_original_than_by_zeros_alone() -> None:
    original, model, alone = wide_network(), wide_network(), wide_network()
    sparsify(model)
    expected = run(original)
    for ours, plain in zip(model.graph, alone.graph, strict=True):
        if ours.op_type in ("Conv", "Gemm"):
            array = ours.inputs[1].const_value.numpy()
            value = plain.inputs[1]
            zeroed = np.where(array == 0, 0, value.const_value.numpy())
            value.const_value = ir.tensor(zeroed, name=value.name)
    assert np.square(run(model) - expected).mean() < np.square(run(alone) - expected).mean()


def test_rounding_keeps_zeros() -> None:
    weights, moments = correlated(16)
    weights[:, ::2] = 0
    integers = round_columns(weights[None], np.full((1, 6), 0.01), moments[None])
    assert not integers[0][:, ::2].any()
    assert integers.any()


@pytest.mark.parametrize("pattern", ["4:4", "5:4", "0:4", "2", "2:4:8"])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        SparsifyOptions(pattern=pattern)
