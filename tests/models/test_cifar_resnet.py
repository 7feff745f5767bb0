"""The architecture of the bundled network."""

import itertools

import pytest

from ingot.models import cifar_resnet


def test_blocks_follow_each_other_without_a_gap_in_channels():
    blocks = cifar_resnet.residual_blocks()
    assert blocks[0].in_channels == cifar_resnet.STAGES[0][0]
    for before, after in itertools.pairwise(blocks):
        assert before.out_channels == after.in_channels


def test_each_stage_but_the_first_halves_the_resolution_once():
    strides = {block.name: block.stride for block in cifar_resnet.residual_blocks()}
    assert [name for name, stride in strides.items() if stride == 2] == [
        "stage2.block1",
        "stage3.block1",
    ]


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "projects"),
    [(16, 16, 1, False), (16, 32, 1, True), (16, 16, 2, True), (16, 32, 2, True)],
)
def test_shortcut_projects_exactly_when_it_would_not_fit(
    in_channels, out_channels, stride, projects
):
    block = cifar_resnet.Block("b", in_channels, out_channels, stride)
    assert block.projects == projects


def test_parameters_make_about_one_megabyte_of_float32():
    assert 0.9e6 <= 4 * cifar_resnet.parameter_count() <= 1.1e6


def test_running_statistics_are_not_learned():
    names = cifar_resnet.weight_shapes()
    kept = [name for name in names if cifar_resnet.is_running_statistic(name)]
    assert len(kept) == 2 * sum(name.endswith(".scale") for name in names)
    assert {name.rpartition(".")[2] for name in kept} == {"mean", "variance"}
