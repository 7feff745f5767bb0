"""The TOSA reference model as an executor: what it refuses is one line, and it prints nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from ingot.errors import ArtifactError, IngotError
from ingot.runtime.npu.executor import make_executor
from tests.targets.npu.quantized import Graph, compiled, executed, expected


def sigmoid() -> Graph:
    graph = Graph()
    graph.output(graph.op("Sigmoid", graph.input((2, 8))), 1 / 128)
    return graph


def test_it_computes_the_graph_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    graph = sigmoid()
    inputs = graph.random_inputs()
    (found,) = executed(compiled(graph), inputs)
    assert capfd.readouterr().out == ""
    np.testing.assert_array_equal(found, expected(graph, inputs)[0])


def test_a_graph_that_is_none_is_one_line() -> None:
    region = dataclasses.replace(compiled(sigmoid()), graph=b"")
    with pytest.raises(IngotError, match="TOSA reference model cannot run NPU region region0"):
        make_executor("reference", region).run([np.zeros((2, 8), np.int8)])


def test_a_damaged_graph_ends_neither_this_process_nor_what_runs_after_it() -> None:
    graph = sigmoid()
    whole = compiled(graph)
    inputs = graph.random_inputs()
    half = len(whole.graph) // 2
    damaged = dataclasses.replace(whole, graph=whole.graph[:half] + bytes(len(whole.graph) - half))
    with pytest.raises(ArtifactError, match="ended with SIG.* region0: the region is damaged"):
        make_executor("reference", damaged).run(inputs)
    np.testing.assert_array_equal(executed(whole, inputs)[0], expected(graph, inputs)[0])
