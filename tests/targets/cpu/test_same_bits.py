"""A quantized network gives the same bits whatever a processor's vectors and integer products are.

Code for processors that this machine is not is translated (see ``foreign_code``).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from ingot.passes.quantization import InsertQdq
from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu.kernels.words.amx import groups_of_step
from tests.passes.quantization.networks import calibrated, model, normal
from tests.targets.cpu.conftest import Compile

pytestmark = pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's processors")

PROCESSORS = {
    "haswell": "AVX2",
    "alderlake": "AVX-VNNI",
    "skylake-avx512": "AVX-512",
    "icelake-client": "AVX-512 with VNNI",
    "sapphirerapids": "AMX",
}


def mobile_network(batch: int = 1) -> ir.Model:
    """An inverted residual with squeeze and excitation, pools and a concatenation."""
    weights = {
        "w1": normal(24, 3, 3, 3, seed=1, scale=0.3),
        "b1": normal(24, seed=2, scale=0.2),
        "w2": normal(24, 1, 3, 3, seed=3, scale=0.4),
        "b2": normal(24, seed=4, scale=0.2),
        "w3": normal(6, 24, 1, 1, seed=5, scale=0.3),
        "b3": normal(6, seed=6, scale=0.2),
        "w4": normal(24, 6, 1, 1, seed=7, scale=0.3),
        "b4": normal(24, seed=8, scale=0.2),
        "w5": normal(24, 24, 1, 1, seed=9, scale=0.2),
        "b5": normal(24, seed=10, scale=0.2),
        "w6": normal(10, 48, seed=11, scale=0.2),
        "b6": normal(10, seed=12, scale=0.2),
    }
    body = (
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) s1 = Sigmoid(a) r = Mul(a, s1)"
        " d = Conv<pads=[1,1,1,1], group=24>(r, w2, b2) s2 = Sigmoid(d) e = Mul(d, s2)"
        " m = GlobalAveragePool(e) f = Conv(m, w3, b3) s3 = Sigmoid(f) g = Mul(f, s3)"
        " h = Conv(g, w4, b4) s4 = Sigmoid(h) i = Mul(e, s4) j = Conv(i, w5, b5) k = Add(j, r)"
        " l = MaxPool<kernel_shape=[2,2], strides=[2,2]>(k)"
        " n = AveragePool<kernel_shape=[2,2], strides=[2,2]>(k) o = Concat<axis=1>(l, n)"
        " p = GlobalAveragePool(o) q = Flatten(p) y = Gemm<transB=1>(q, w6, b6)"
    )
    signature = f"(float[{batch},3,6,5] x) => (float[{batch},10] y)"
    return model(signature, body, weights)


def transformer_block() -> ir.Model:
    """Attention of four heads and a feed-forward layer, each with its sum and layer norm."""
    width, hidden = 136, 200
    weights = {
        **{f"w{k}": normal(width, width, seed=i, scale=0.12) for i, k in enumerate("qkvo")},
        **{f"b{k}": normal(width, seed=10 + i, scale=0.1) for i, k in enumerate("qkvo")},
        "w1": normal(width, hidden, seed=20, scale=0.12),
        "b1": normal(hidden, seed=21, scale=0.1),
        "w2": normal(hidden, width, seed=22, scale=0.07),
        "b2": normal(width, seed=23, scale=0.1),
        **{f"g{i}": 1 + normal(width, seed=30 + i, scale=0.1) for i in (1, 2)},
        **{f"h{i}": normal(width, seed=40 + i, scale=0.1) for i in (1, 2)},
        "heads": np.array([0, 0, 4, 34], np.int64),
        "joined": np.array([0, 0, width], np.int64),
        "root": np.array(34**-0.5, np.float32),
    }

    def heads(name: str, order: str) -> str:
        return (
            f"p{name} = MatMul(x, w{name}) a{name} = Add(p{name}, b{name})"
            f" r{name} = Reshape(a{name}, heads) {name} = Transpose<perm=[{order}]>(r{name}) "
        )

    body = (
        heads("q", "0,2,1,3") + heads("k", "0,2,3,1") + heads("v", "0,2,1,3")
        + "s = MatMul(q, k) t = Mul(s, root) u = Softmax<axis=-1>(t) c = MatMul(u, v)"
        " ct = Transpose<perm=[0,2,1,3]>(c) cj = Reshape(ct, joined) po = MatMul(cj, wo)"
        " ao = Add(po, bo) x1 = Add(ao, x) n1 = LayerNormalization<axis=-1>(x1, g1, h1)"
        " f1 = MatMul(n1, w1) e1 = Add(f1, b1) ge = Gelu(e1) f2 = MatMul(ge, w2)"
        " e2 = Add(f2, b2) x2 = Add(e2, n1) y = LayerNormalization<axis=-1>(x2, g2, h2)"
    )  # fmt: skip
    return model("(float[1,9,136] x) => (float[1,9,136] y)", body, weights)


@pytest.mark.parametrize(
    "network", [mobile_network, pytest.param(transformer_block, marks=pytest.mark.slow)]
)
def test_each_processor_gives_the_same_bits(compile_for_cpu: Compile, network) -> None:
    graph = network()
    shape = tuple(graph.graph.inputs[0].shape)
    inputs = [normal(*shape, seed=seed) for seed in range(8)]
    ShapeInferencePass()(graph)
    calibrated(InsertQdq(), [{"x": x} for x in inputs[4:]])(graph)
    results = {}
    for mcpu, vectors in PROCESSORS.items():
        compiled = compile_for_cpu(ir.to_proto(graph), mcpu)
        assert any(family.startswith("integer") for family in compiled.kernels.values())
        assert ("tdpbusd" in compiled.assembly.split()) == (vectors == "AMX")
        results[vectors] = [compiled(x)[0] for x in inputs]
    for vectors, found in results.items():
        np.testing.assert_array_equal(found, results["AVX2"], err_msg=vectors)


@pytest.mark.slow
def test_what_tiles_read_stays_in_memory_until_they_have(
    compile_for_cpu: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A gate whose rows are copied first, with other buffers behind it in the same kernel.
    monkeypatch.setattr(
        "ingot.targets.cpu.selection.words.packing.groups_of_step",
        lambda groups, _, cpu: groups_of_step(groups, None, cpu),
    )
    graph = mobile_network(batch=8)
    inputs = [normal(8, 3, 6, 5, seed=seed) for seed in range(4)]
    ShapeInferencePass()(graph)
    calibrated(InsertQdq(), [{"x": x} for x in inputs])(graph)
    expected, found = (
        [compile_for_cpu(ir.to_proto(graph), mcpu)(x)[0] for x in inputs]
        for mcpu in ("haswell", "sapphirerapids")
    )
    np.testing.assert_array_equal(found, expected)
