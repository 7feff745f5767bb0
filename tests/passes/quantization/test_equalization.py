"""Channels scaled to equal ranges: the graph computes the same, and quantizes better."""

from __future__ import annotations

import numpy as np
import pytest

from ingot.compiler.verification import ReferenceCheck
from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.quantization import Equalize, InsertQdq
from ingot.passes.quantization.equalization import EqualizeOptions
from tests.passes.quantization.networks import (
    calibrated,
    images,
    model,
    normal,
    readers,
    residual_network,
    sqnr,
)

SPREAD = np.geomspace(0.02, 2.0, 8, dtype=np.float32)


def equalized(network, **options):
    after = network.clone()
    outcome = calibrated(Equalize(EqualizeOptions(**options)))(after)
    check_graph(after)
    check_operators(after)
    ReferenceCheck(images(3, seed=8)).compare(
        network, after, Equalize.tolerance, pass_name=Equalize.name
    )
    return after, outcome


def chain(middle: str, last: str = "y = Conv(m, v)"):
    """A convolution of very different channels, something between, and one that reads it."""
    return model(
        "(float[1,3,8,8] x) => (float[1,4,H,W] y)",
        f"c = Conv(x, w, b) {middle} {last}",
        {
            "w": normal(8, 3, 1, 1) * SPREAD[:, None, None, None],
            "b": normal(8, seed=1) * SPREAD,
            "v": normal(4, 8, 1, 1, seed=2) / SPREAD[None, :, None, None],
            "d": normal(8, 1, 3, 3, seed=3),
            "lo": np.array(0, np.float32),
            "hi": np.array(6, np.float32),
        },
    )


@pytest.mark.parametrize(
    "middle",
    [
        "m = Relu(c)",
        "m = Identity(c)",
        "a = Relu(c) m = MaxPool<kernel_shape=[2,2]>(a)",
        "a = Relu(c) m = AveragePool<kernel_shape=[3,3]>(a)",
        "a = Relu(c) p = GlobalAveragePool(a) g = Relu(p) m = Add(g, g)",
    ],
)
def test_what_commutes_needs_no_operator_of_its_own(middle):
    network = chain(middle)
    after, outcome = equalized(network)
    assert outcome.applied == 1
    assert [node.op_type for node in after.graph] == [node.op_type for node in network.graph]


@pytest.mark.parametrize(
    "middle",
    [
        "m = Clip(c, lo, hi)",
        "m = HardSwish(c)",
        "s = Sigmoid(c) m = Mul(c, s)",
        "a = Clip(c, lo, hi) d2 = Conv<group=8>(a, d) m = Relu(d2)",
    ],
)
def test_behind_other_functions_a_vector_is_multiplied(middle):
    network = chain(middle)
    after, outcome = equalized(network)
    assert outcome.applied >= 1
    assert len(readers(after.graph, "Mul")) == len(readers(network.graph, "Mul")) + 1
    left, outcome = equalized(network, insert=False)
    assert len(readers(left.graph, "Mul")) == len(readers(network.graph, "Mul"))


def test_a_gated_tensor_is_scaled_through_its_gate_and_its_mean():
    network = chain(
        "a = HardSwish(c) p = GlobalAveragePool(a) q = Conv(p, u) g = Sigmoid(q) m = Mul(a, g)"
    )
    u = normal(8, 8, 1, 1, seed=4)
    network = model(
        "(float[1,3,8,8] x) => (float[1,4,8,8] y)",
        "c = Conv(x, w) a = HardSwish(c) p = GlobalAveragePool(a) q = Conv(p, u)"
        " g = Sigmoid(q) m = Mul(a, g) y = Conv(m, v)",
        {
            "w": normal(8, 3, 1, 1) * SPREAD[:, None, None, None],
            "u": u,
            "v": normal(4, 8, 1, 1, seed=2) / SPREAD[None, :, None, None],
        },
    )
    _, outcome = equalized(network)
    assert outcome.applied == 1


def test_it_pays_where_channels_differ():
    network = chain("m = Clip(c, lo, hi)")
    after, _ = equalized(network)
    inputs = images(8, seed=5)
    plain, better = network.clone(), after.clone()
    calibrated(InsertQdq())(plain)
    calibrated(InsertQdq())(better)
    assert sqnr(network, better, inputs) > sqnr(network, plain, inputs) + 3


@pytest.mark.parametrize(
    ("middle", "last", "reason"),
    [
        ("m = Relu(c)", "t = Tanh(m) q = Conv(m, v) y = Add(q, q)", "(Tanh) reads 'm'"),
        ("m = Relu(c)", "q = Conv(m, v) y = Identity(m)", "is an output of the graph"),
    ],
)
def test_leaves_what_is_read_otherwise_and_says_why(middle, last, reason):
    network = chain(middle, last)
    _, outcome = equalized(network)
    assert outcome.applied == 0
    assert any(reason in declined.reason for declined in outcome.declined)


def test_equal_channels_are_left_alone():
    network = model(
        "(float[1,3,8,8] x) => (float[1,4,8,8] y)",
        "c = Conv(x, w) m = HardSwish(c) y = Conv(m, v)",
        {"w": np.ones((8, 3, 1, 1), np.float32), "v": normal(4, 8, 1, 1)},
    )
    _, outcome = equalized(network)
    assert not outcome.modified


def test_a_residual_stream_keeps_one_factor_throughout():
    equalized(residual_network())
