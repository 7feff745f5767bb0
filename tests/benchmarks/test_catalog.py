"""The list of networks: valid models in every form, normal activations, and two halves."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from benchmarks.networks.catalog import NETWORKS, Network, by_name, halved
from ingot.compiler.inputs import random_inputs
from ingot.reference.session import Reference

NAMES = [network.name for network in NETWORKS]
LARGE = {"vgg19", "zfnet"}  # hundreds of megabytes of weights


def network(name: str) -> Network:
    return Network(name, lambda **sizes: onnx.ModelProto(), {}, {}, {})


def outputs(name: str, *, small: bool) -> dict[str, np.ndarray]:
    model = by_name(name).model(open_sizes=False, small=small)
    found = Reference(model).run(random_inputs(ir.from_proto(model)))
    return {name: array for name, array in found.items() if array.dtype == np.float32}


def assert_normal(found: dict[str, np.ndarray]) -> None:
    """Neither so large that sums overflow, nor so small that the time is that of denormals."""
    assert found
    for name, array in found.items():
        assert np.isfinite(array).all(), name
        assert 1e-3 < np.abs(array).max() < 1e3, name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("open_sizes", [False, True], ids=["fixed", "open"])
def test_small_forms_are_valid_models(name, open_sizes):
    model = by_name(name).model(open_sizes=open_sizes, small=True)
    onnx.checker.check_model(model, full_check=True)
    dims = [d for value in model.graph.input for d in value.type.tensor_type.shape.dim]
    assert any(d.dim_param for d in dims) == open_sizes


@pytest.mark.parametrize("name", NAMES)
def test_results_of_small_forms_are_normal_numbers(name):
    assert_normal(outputs(name, small=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in LARGE])
def test_results_of_full_forms_are_normal_numbers(name):
    assert_normal(outputs(name, small=False))


def test_names_are_unique():
    assert max(collections.Counter(NAMES).values()) == 1


def test_each_pair_of_neighbours_is_split():
    for begin in range(0, len(NETWORKS), 2):
        pair = [each.half for each in NETWORKS[begin : begin + 2]]
        assert pair in (["development", "held_out"], ["held_out", "development"], ["development"])


def test_the_half_depends_on_the_names_of_the_pair_alone():
    before = {each.name: each.half for each in halved([network(name) for name in "abcd"])}
    after = {each.name: each.half for each in halved([network(name) for name in "bacdef"])}
    assert {name: after[name] for name in before} == before
    assert len({each.half for each in halved([network("a"), network("b")])}) == 2


def test_weights_do_not_depend_on_when_a_network_is_built():
    first, second = (by_name("mlp").model(open_sizes=False) for _ in range(2))
    assert first == second
