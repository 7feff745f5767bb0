"""Running a graph through the CPU target in this process, without linking."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import tvm
from onnx_ir.passes.common import ShapeInferencePass
from tvm import relax

from ingot.runtime.threads import use_threads
from ingot.targets.cpu.importer import import_graph
from ingot.targets.cpu.lowering import build_module, lower_module
from ingot.targets.cpu.machine import describe_cpu

Run = Callable[..., list[np.ndarray]]


@pytest.fixture(scope="session")
def run_on_cpu() -> Run:
    """Compiles a model and runs it: ``run(model, *inputs, mcpu=…)`` gives its outputs."""

    def run(model: onnx.ModelProto, *inputs: np.ndarray, mcpu: str = "native") -> list[np.ndarray]:
        graph = ir.from_proto(model)
        ShapeInferencePass()(graph)
        cpu = describe_cpu(mcpu, threads=2)
        lowered = lower_module(import_graph(graph), cpu)
        assert lowered.unscheduled == []
        machine = relax.VirtualMachine(build_module(lowered, cpu), tvm.cpu())
        use_threads(2)
        tensors = [tvm.runtime.tensor(array) for array in (*inputs, *lowered.weights.values())]
        result = machine["main"](*tensors)
        results = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)
        return [tensor.numpy() for tensor in results]

    return run
