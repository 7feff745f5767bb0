"""The manifest survives its JSON, and says what is wrong with a damaged one."""

from __future__ import annotations

import dataclasses

import pytest

from ingot.compiler.build import Artifact
from ingot.errors import ArtifactError
from ingot.runtime.manifest import KernelCost, Manifest, TensorSpec


def test_round_trip(small_artifact: Artifact) -> None:
    manifest = small_artifact.manifest
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_contents(small_artifact: Artifact) -> None:
    manifest = small_artifact.manifest
    assert manifest.inputs == (TensorSpec("image", "float32", ("N", 3, 16, 16)),)
    assert manifest.outputs == (TensorSpec("logits", "float32", ("N", 10)),)
    assert manifest.target.kind == "cpu"
    assert set(manifest.members) == {"lib.so", "params.safetensors"}
    assert len(manifest.source["sha256"]) == 64
    assert manifest.recipe["name"] == "fp32"
    assert manifest.tools["apache-tvm"]
    assert manifest.passes[0]["name"].startswith("cleanup.")
    assert manifest.measured["verification"]["ran"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 6}', "\0"])
def test_damaged_manifests_are_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="manifest is damaged"):
        Manifest.from_json(text)


def test_a_spec_reads_as_users_write_shapes() -> None:
    assert str(TensorSpec("x", "int8", ("N", 3))) == "x: int8[N, 3]"


class TestKernels:
    CONVOLUTION = KernelCost("conv2d+relu", operations=1000, bytes=80, calls=3)
    SOFTMAX = KernelCost("softmax", operations=10, bytes=40, calls=1)

    def manifest(self, artifact: Artifact, **kernels: KernelCost) -> Manifest:
        costs = {name: dataclasses.asdict(cost) for name, cost in kernels.items()}
        placement = {"cpu": {"executor": "tvm", "nodes": 4, "kernels": costs}}
        changed = dataclasses.replace(artifact.manifest, placement=placement)
        return Manifest.from_json(changed.to_json())

    def test_their_costs_are_read_back(self, small_artifact: Artifact) -> None:
        manifest = self.manifest(small_artifact, a=self.CONVOLUTION, b=self.SOFTMAX)
        assert manifest.kernels == {"a": self.CONVOLUTION, "b": self.SOFTMAX}

    def test_an_inference_costs_each_kernel_as_often_as_it_is_called(
        self, small_artifact: Artifact
    ) -> None:
        manifest = self.manifest(small_artifact, a=self.CONVOLUTION, b=self.SOFTMAX)
        assert manifest.operations == 3 * 1000 + 10

    def test_one_open_cost_leaves_the_sum_open(self, small_artifact: Artifact) -> None:
        open_cost = dataclasses.replace(self.SOFTMAX, operations=None)
        assert self.manifest(small_artifact, a=self.CONVOLUTION, b=open_cost).operations is None
        assert self.manifest(small_artifact).operations is None

    def test_an_npu_does_two_operations_for_each_multiply_add(
        self, small_artifact: Artifact
    ) -> None:
        manifest = self.manifest(small_artifact, a=self.SOFTMAX)
        placement = {**manifest.placement, "npu": {"executor": "npu", "nodes": 2, "macs": 500}}
        assert dataclasses.replace(manifest, placement=placement).operations == 10 + 2 * 500
