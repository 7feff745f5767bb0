"""ResNet-50 v1 of Keras's checkpoint."""

import pytest

from ingot.models.architectures.resnet50 import build

STAGES = ((2, 3, 64, 64), (3, 4, 256, 128), (4, 6, 512, 256), (5, 3, 1024, 512))


@pytest.fixture
def weights(checkpoint):
    checkpoint.conv("conv1", 64, 3, 7, bias=True)
    checkpoint.batch_norm("bn_conv1", 64)
    for stage, blocks, first_inputs, width in STAGES:
        for index, letter in enumerate("abcdef"[:blocks]):
            inputs = first_inputs if index == 0 else 4 * width
            branches = [
                ("2a", width, inputs, 1),
                ("2b", width, width, 3),
                ("2c", 4 * width, width, 1),
            ]
            if index == 0:
                branches.append(("1", 4 * width, inputs, 1))
            for branch, outputs, channels, kernel in branches:
                layer = f"{stage}{letter}_branch{branch}"
                checkpoint.conv(f"res{layer}", outputs, channels, kernel, bias=True)
                checkpoint.batch_norm(f"bn{layer}", outputs)
    checkpoint.linear("fc1000", 1000, 2048)
    return checkpoint


def test_it_is_the_published_network(weights, assert_classifies_images):
    assert weights.size == 25_636_712  # Keras's count, statistics included

    assert_classifies_images(build(weights))


def test_a_stages_stride_lies_in_its_first_convolutions(weights):
    strided = [
        node.name
        for node in build(weights).graph
        if node.op_type == "Conv" and node.attributes["strides"].as_ints()[0] == 2
    ]

    assert strided == [
        "conv1",
        *("res3a_branch2a", "res3a_branch1"),
        *("res4a_branch2a", "res4a_branch1"),
        *("res5a_branch2a", "res5a_branch1"),
    ]
