"""Sizes that are computed when the model runs are known before what has them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import tvm
import tvm_ffi
from tvm import relax, tirx

from ingot.onnx_graph.shape_inference import infer_shapes
from ingot.targets.relax.importer import import_graph
from tests.targets.cpu.conftest import Run


def test_a_kernel_that_is_fused_with_what_comes_before_its_size(run_on_cpu: Run) -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        window (int32 size) => (float[M] y)
        <float zero = {0.0}, float one = {1.0}, float turn = {6.2831853}> {
            count = Cast<to = 1>(size)
            less = Sub(count, one)
            nothing = Mul(less, zero)
            whole = Add(count, nothing)
            places = Range(zero, count, one)
            step = Div(turn, whole)
            angles = Mul(places, step)
            y = Cos(angles)
        }""")
    for size in (2, 7, 100):
        (found,) = run_on_cpu(model, np.array(size, np.int32))
        expected = np.cos(np.arange(size) * (2 * np.pi / size))
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_size_has_one_name_throughout() -> None:
    """Else operators are taken to have operands of different shapes, and are not lowered."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        cut (float[4, length] x, int64[1] end) => (float[4, rows] y)
        <int64[1] start = {0}, int64[1] axis = {1}> {
            s = Slice(x, start, end, axis)
            r = Relu(s)
            y = Add(r, s)
        }""")
    graph = ir.from_proto(model)
    assert infer_shapes(graph)
    module = tvm.transform.Sequential(
        [
            relax.transform.DecomposeOpsForInference(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.LegalizeOps(),
        ]
    )(import_graph(graph))
    variables: list[tirx.Var] = []
    tvm_ffi.structural_walk(module["main"], (tirx.Var, variables.append))
    sizes = {variable.name for variable in variables if isinstance(variable.ty, tvm.ir.PrimType)}
    assert {size.rstrip("0123456789") for size in sizes} == {"length", "size_"}
