"""Checkpoints of random weights, and running what was built of them."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest


class RandomCheckpoint(dict):
    """A state dictionary of seeded random weights, grown layer by layer."""

    def __init__(self):
        super().__init__()
        self.generator = np.random.default_rng(0)

    def conv(self, name, out, inputs, kernel, *, bias=False):
        """A convolution of He et al.'s scale, which keeps signals in range."""
        scale = np.float32(np.sqrt(2 / (inputs * kernel * kernel)))
        shape = (out, inputs, kernel, kernel)
        self[f"{name}.weight"] = self.generator.standard_normal(shape, dtype=np.float32) * scale
        if bias:
            self[f"{name}.bias"] = self.generator.standard_normal(out, dtype=np.float32)

    def batch_norm(self, name, channels):
        self[f"{name}.weight"] = self.generator.uniform(0.5, 1.5, channels).astype(np.float32)
        self[f"{name}.bias"] = self.generator.standard_normal(channels, dtype=np.float32)
        self[f"{name}.running_mean"] = self.generator.standard_normal(channels, dtype=np.float32)
        self[f"{name}.running_var"] = self.generator.uniform(0.5, 1.5, channels).astype(np.float32)

    def linear(self, name, out, inputs):
        shape = (out, inputs)
        self[f"{name}.weight"] = self.generator.standard_normal(shape, dtype=np.float32) * 0.03
        self[f"{name}.bias"] = self.generator.standard_normal(out, dtype=np.float32)

    @property
    def size(self):
        return sum(array.size for array in self.values())


def session_of(model):
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    names = [node.name for node in proto.graph.node]
    values = [name for node in proto.graph.node for name in node.output]
    assert len(set(names)) == len(names)
    assert len(set(values)) == len(values)
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@pytest.fixture
def checkpoint():
    return RandomCheckpoint()


@pytest.fixture
def assert_classifies_images():
    """Checks an ImageNet classifier: valid, of any batch size, finite, each image on its own."""

    def check(model):
        session = session_of(model)
        assert [(v.name, v.shape) for v in session.get_inputs()] == [("input", ["N", 3, 224, 224])]
        assert [(v.name, v.shape) for v in session.get_outputs()] == [("logits", ["N", 1000])]
        generator = np.random.default_rng(1)
        images = generator.standard_normal((2, 3, 224, 224), dtype=np.float32)
        (both,) = session.run(None, {"input": images})
        (second,) = session.run(None, {"input": images[1:]})
        assert both.shape == (2, 1000)
        assert np.isfinite(both).all()
        assert both.std() > 0
        np.testing.assert_allclose(both[1:], second, rtol=1e-3, atol=1e-3 * np.abs(both).max())

    return check


@pytest.fixture
def run_text():
    """Runs a text model on int64 arrays by input name."""

    def run(model, **inputs):
        return session_of(model).run(None, inputs)[0]

    return run
