"""What reads an image of a computed size is fused as if its size were given."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

import ingot
from ingot.reference.session import Reference
from tests.graphs import parse

NETWORK = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 3, H, W] x)
  => (float[N, 4, A, B] y) {
 a = Conv<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(x, w, v)
 b = Relu(a)
 c = Conv(b, u, v)  d = Relu(c)
 e = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(d, t)  f = Add(e, d)
 p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(f)
 q = Conv(p, u, v)  y = HardSwish(q)
}"""


def network():
    model = parse(NETWORK.replace("x)\n", "x, W1 w, W2 u, W3 t, W4 v)\n", 1)
                  .replace("W1", "float[4, 3, 3, 3]").replace("W2", "float[4, 4, 1, 1]")
                  .replace("W3", "float[4, 4, 3, 3]").replace("W4", "float[4]"))  # fmt: skip
    generator = np.random.default_rng(0)
    for name in "wutv":
        value = next(value for value in model.graph.inputs if value.name == name)
        array = generator.normal(size=[int(size) for size in value.shape]).astype(np.float32)
        model.graph.inputs.remove(value)
        value.const_value = ir.tensor(array, name=name)
        model.graph.register_initializer(value)
    return model


def test_convolutions_of_computed_sizes_are_fused_and_right(tmp_path):
    model = network()
    artifact = ingot.compile(model, tmp_path / "model.ingot")
    kernels = list(artifact.manifest.placement["cpu"]["kernels"])
    assert not any(name.startswith("relu") for name in kernels)
    assert sum("conv2d" in name and name.startswith("fused") for name in kernels) >= 3
    session, reference = ingot.Session(artifact.path), Reference(model)
    generator = np.random.default_rng(1)
    for batch, height, width in ((1, 8, 9), (3, 5, 16), (2, 33, 6)):
        inputs = {"x": generator.normal(size=(batch, 3, height, width)).astype(np.float32)}
        found, expected = session.run(inputs), reference.run(inputs)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)
