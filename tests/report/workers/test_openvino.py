"""OpenVINO as a peer: in the precision that its name says, or not at all."""

import sys
import types

import pytest

from ingot.report.process import Worker
from ingot.report.workers.openvino import OpenVinoEngine
from tests.report.test_process import CPUS


def test_float32_is_said_and_asked_for(classifier):
    pytest.importorskip("openvino", reason="OpenVINO is an optional peer")
    with Worker("the peer", "openvino", classifier, threads=1, cpus=CPUS) as worker:
        assert worker.facts["precision"] == "f32"


def test_bfloat16_is_another_peer(classifier):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is an optional peer")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    with Worker("the peer", "openvino_bf16", classifier, threads=1, cpus=CPUS) as worker:
        assert worker.facts["precision"] == "bf16"


def test_a_cpu_without_bfloat16_refuses_it(classifier, monkeypatch):
    core = types.SimpleNamespace(get_property=lambda *_: ["FP32", "INT8"])
    fake = types.SimpleNamespace(Core=lambda: core)
    monkeypatch.setitem(sys.modules, "openvino", fake)
    with pytest.raises(RuntimeError, match="OpenVINO has no bf16 on this CPU"):
        OpenVinoEngine(classifier, 1, "bf16")
