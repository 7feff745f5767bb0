"""EfficientNet-B0 and Lite0, and the names that their checkpoints use."""

import re

import numpy as np
import pytest

from ingot.errors import ModelError
from ingot.models.architectures.efficientnet import (
    b0_weights,
    build_b0,
    build_lite0,
    lite0_weights,
)

# Stage, block, kernel, input channels, hidden channels, output channels.
BLOCKS = (
    (0, 0, 3, 32, 32, 16),
    *((1, 0, 3, 16, 96, 24), (1, 1, 3, 24, 144, 24)),
    *((2, 0, 5, 24, 144, 40), (2, 1, 5, 40, 240, 40)),
    *((3, 0, 3, 40, 240, 80), (3, 1, 3, 80, 480, 80), (3, 2, 3, 80, 480, 80)),
    *((4, 0, 5, 80, 480, 112), (4, 1, 5, 112, 672, 112), (4, 2, 5, 112, 672, 112)),
    *((5, 0, 5, 112, 672, 192), *((5, block, 5, 192, 1152, 192) for block in (1, 2, 3))),
    (6, 0, 3, 192, 1152, 320),
)


@pytest.fixture
def lite0_state(checkpoint):
    checkpoint.conv("_conv_stem", 32, 3, 3)
    checkpoint.batch_norm("_bn0", 32)
    for index, (_, _, kernel, inputs, hidden, outputs) in enumerate(BLOCKS):
        block = f"_blocks.{index}"
        if inputs != hidden:
            checkpoint.conv(f"{block}._expand_conv", hidden, inputs, 1)
            checkpoint.batch_norm(f"{block}._bn0", hidden)
        checkpoint.conv(f"{block}._depthwise_conv", hidden, 1, kernel)
        checkpoint.batch_norm(f"{block}._bn1", hidden)
        checkpoint.conv(f"{block}._project_conv", outputs, hidden, 1)
        checkpoint.batch_norm(f"{block}._bn2", outputs)
    checkpoint.conv("_conv_head", 1280, 320, 1)
    checkpoint.batch_norm("_bn1", 1280)
    checkpoint.linear("_fc", 1000, 1280)
    return checkpoint


@pytest.fixture
def b0_layers(checkpoint):
    model = "StatefulPartitionedCall/model"
    checkpoint.conv(f"{model}/stem_bn/FusedBatchNormV3", 32, 3, 3, bias=True)
    for stage, index, kernel, inputs, hidden, outputs in BLOCKS:
        block, squeezed = f"{model}/stack_{stage}/block_{index}", inputs // 4
        if inputs != hidden:
            checkpoint.conv(f"{block}/expand_bn/FusedBatchNormV3", hidden, inputs, 1, bias=True)
        checkpoint.conv(f"{block}/depthwise_conv2d/depthwise", hidden, 1, kernel, bias=True)
        checkpoint.conv(f"{block}/se_reduce_conv2d/BiasAdd", squeezed, hidden, 1, bias=True)
        checkpoint.conv(f"{block}/se_expand_conv2d/BiasAdd", hidden, squeezed, 1, bias=True)
        checkpoint.conv(f"{block}/project_bn/FusedBatchNormV3", outputs, hidden, 1, bias=True)
    checkpoint.conv(f"{model}/top_bn/FusedBatchNormV3", 1280, 320, 1, bias=True)
    checkpoint.linear(f"{model}/logits/BiasAdd", 1000, 1280)
    paths = [key.removesuffix(".weight") for key in checkpoint if key.endswith(".weight")]
    return {path: (checkpoint[f"{path}.weight"], checkpoint[f"{path}.bias"]) for path in paths}


def test_lite0_is_the_published_network(lite0_state, assert_classifies_images):
    statistics = sum(a.size for key, a in lite0_state.items() if ".running_" in key)
    assert lite0_state.size - statistics == 4_652_008

    assert_classifies_images(build_lite0(lite0_weights(lite0_state)))


def test_b0_is_the_published_network(b0_layers, assert_classifies_images):
    folded = sum(kernel.size + bias.size for kernel, bias in b0_layers.values())
    scales = 21_008  # a batch norm's scale and shift fold into one bias per channel
    assert folded + scales == 5_288_548

    assert_classifies_images(build_b0(b0_weights(b0_layers)))


def test_padding_at_stride_two_comes_after_the_image(lite0_state):
    model = build_lite0(lite0_weights(lite0_state))

    pads = {
        (
            node.attributes["kernel_shape"].as_ints()[0],
            node.attributes["strides"].as_ints()[0],
        ): tuple(node.attributes["pads"].as_ints())
        for node in model.graph
        if node.op_type == "Conv"
    }

    assert pads == {
        (1, 1): (0, 0, 0, 0),
        (3, 1): (1, 1, 1, 1),
        (5, 1): (2, 2, 2, 2),
        (3, 2): (0, 0, 1, 1),
        (5, 2): (1, 1, 2, 2),
    }


def test_only_b0_squeezes_and_excites(lite0_state):
    kinds = {node.op_type for node in build_lite0(lite0_weights(lite0_state)).graph}

    assert kinds == {
        "Conv",
        "BatchNormalization",
        "Clip",
        "Add",
        "GlobalAveragePool",
        "Flatten",
        "Gemm",
    }


def test_each_b0_block_scales_its_channels_by_a_gate(b0_layers):
    model = build_b0(b0_weights(b0_layers))

    gated = [node for node in model.graph if re.fullmatch(r"blocks\.\d+\.se\.scale", node.name)]

    assert len(gated) == 16
    for node in gated:
        features, gate = node.inputs
        assert gate.producer().op_type == "Sigmoid"
        assert features.producer().name == node.name.replace("se.scale", "depthwise.silu")


@pytest.mark.parametrize("key", ["_blocks.0._se_reduce.weight", "_swish.beta", "features.0.weight"])
def test_a_weight_that_lite0_does_not_have_is_named(key):
    with pytest.raises(ModelError, match=re.escape(key)):
        lite0_weights({key: np.zeros(1)})


@pytest.mark.parametrize(
    "path", ["x/model/stack_7/block_0/project_bn/FusedBatchNormV3", "x/model/stem", "stem_bn"]
)
def test_an_operation_that_b0_does_not_have_is_named(path):
    with pytest.raises(ModelError, match=re.escape(path)):
        b0_weights({path: (np.zeros(1), np.zeros(1))})
