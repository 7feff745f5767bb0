"""Small nets as a whole: one region, the same bits by both executors, near ONNX Runtime's."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from ingot.targets.npu.configuration import ACCELERATORS, configure
from ingot.targets.npu.lowering import partition_graph
from tests.targets.npu.estimates import NETS
from tests.targets.npu.quantized import SIMULATED, executed


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize(("name", "units"), [("separable", 1), ("dense", 1), ("mixed", 2)])
def test_a_net_is_one_region_and_near_onnxruntime(name: str, units: int, accelerator: str) -> None:
    """One unit at ties; two behind HardSwish, which is steeper than one."""
    model = NETS[name].build()
    shape = [int(str(size)) for size in model.graph.inputs[0].shape or ()]
    given = np.random.default_rng(5).integers(-128, 128, shape).astype(np.int8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    (expected,) = session.run(None, {session.get_inputs()[0].name: given})
    parts = partition_graph(model, configure(accelerator, None, None), sram=None, fallback=False)
    (region,) = parts.regions
    (found,) = executed(region, [given])
    assert len(np.unique(expected)) > 8
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= units
    assert difference.mean() <= 0.1
    if accelerator in SIMULATED:
        (simulated,) = executed(region, [given], "command-stream")
        np.testing.assert_array_equal(simulated, found)
