"""MobileNetV2 of torchvision's checkpoint."""

import pytest

from ingot.errors import ModelError
from ingot.models.architectures.mobilenetv2 import build

# Input, hidden and output channels of each block.
BLOCKS = (
    (32, 32, 16),
    *((16, 96, 24), (24, 144, 24)),
    *((24, 144, 32), (32, 192, 32), (32, 192, 32)),
    *((32, 192, 64), (64, 384, 64), (64, 384, 64), (64, 384, 64)),
    *((64, 384, 96), (96, 576, 96), (96, 576, 96)),
    *((96, 576, 160), (160, 960, 160), (160, 960, 160)),
    (160, 960, 320),
)


@pytest.fixture
def weights(checkpoint):
    checkpoint.conv("features.0.0", 32, 3, 3)
    checkpoint.batch_norm("features.0.1", 32)
    for index, (inputs, hidden, outputs) in enumerate(BLOCKS, 1):
        block, layer = f"features.{index}.conv", 0
        if inputs != hidden:
            checkpoint.conv(f"{block}.0.0", hidden, inputs, 1)
            checkpoint.batch_norm(f"{block}.0.1", hidden)
            layer = 1
        checkpoint.conv(f"{block}.{layer}.0", hidden, 1, 3)
        checkpoint.batch_norm(f"{block}.{layer}.1", hidden)
        checkpoint.conv(f"{block}.{layer + 1}", outputs, hidden, 1)
        checkpoint.batch_norm(f"{block}.{layer + 2}", outputs)
    checkpoint.conv("features.18.0", 1280, 320, 1)
    checkpoint.batch_norm("features.18.1", 1280)
    checkpoint.linear("classifier.1", 1000, 1280)
    return checkpoint


def test_it_is_the_published_network(weights, assert_classifies_images):
    statistics = sum(a.size for key, a in weights.items() if ".running_" in key)
    assert weights.size - statistics == 3_504_872  # torchvision's count

    assert_classifies_images(build(weights))


def test_its_parts(weights):
    model = build(weights)
    nodes = {node.name: node for node in model.graph}

    counts = {
        kind: [n.op_type for n in nodes.values()].count(kind) for kind in ("Conv", "Clip", "Add")
    }
    assert counts == {"Conv": 52, "Clip": 35, "Add": 10}
    depthwise = nodes["features.3.conv.1.0"]
    assert depthwise.attributes["group"].as_int() == 144
    assert "features.3.add" in nodes  # the first block that keeps its shape
    strides = [n.attributes["strides"].as_ints()[0] for n in nodes.values() if n.op_type == "Conv"]
    assert strides.count(2) == 5


def test_another_networks_checkpoint_is_refused(weights):
    del weights["features.7.conv.2.weight"]

    with pytest.raises(ModelError, match=r"features\.7\.conv\.2\.weight"):
        build(weights)
