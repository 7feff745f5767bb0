"""The manifest survives its JSON, and says what is wrong with a damaged one."""

from __future__ import annotations

import pytest

from ingot.compiler.build import Artifact
from ingot.errors import ArtifactError
from ingot.runtime.manifest import Manifest, TensorSpec


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


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 1}', "\0"])
def test_damaged_manifests_are_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="manifest is damaged"):
        Manifest.from_json(text)


def test_a_spec_reads_as_users_write_shapes() -> None:
    assert str(TensorSpec("x", "int8", ("N", 3))) == "x: int8[N, 3]"
