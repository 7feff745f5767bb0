"""Code says what it was compiled for, and a manifest or weights of another kind are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.compiler.artifact_writer import (
    describe_members,
    describe_weights,
    serialize_weights,
    write_artifact,
)
from ingot.compiler.build import Artifact, compile_model
from ingot.errors import ArtifactError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import WEIGHTS_MEMBER, Manifest, TensorSpec
from ingot.runtime.safetensors import map_tensors
from ingot.runtime.session import Session

Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two products, of two inputs by two weights, all alike but for their names and numbers."""
    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"y{i}"], f"product{i}") for i in range(2)
    ]
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 32])
        for name in ("x0", "x1", "y0", "y1")
    }
    weights = [
        numpy_helper.from_array(generator.normal(size=(32, 32)).astype(np.float32), f"w{i}")
        for i in range(2)
    ]
    graph = helper.make_graph(
        nodes, "twins", [infos["x0"], infos["x1"]], [infos["y0"], infos["y1"]], weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path_factory.mktemp("twins") / "twins.onnx"
    onnx.save(model, path)
    return compile_model(path, path.with_suffix(".ingot"))


def rewritten(
    artifact: Artifact,
    path: Path,
    change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    weights: Callable[[Weights], Mapping[str, np.ndarray]] | None = None,
) -> Path:
    """The artifact with another manifest or other weights, every digest right."""
    reader = ArtifactReader(artifact.path)
    members: dict[str, Any] = {n: bytes(reader.member(n)) for n in reader.manifest.members}
    if weights is not None:
        tensors = map_tensors(memoryview(members[WEIGHTS_MEMBER]))
        members[WEIGHTS_MEMBER] = serialize_weights(weights(dict(tensors)))
    manifest = dataclasses.replace(reader.manifest, members=describe_members(members))
    write_artifact(path, change(manifest), members)
    return path


def restated(manifest: Manifest, weights: Weights) -> Manifest:
    return dataclasses.replace(manifest, weights=describe_weights(weights))


def test_code_knows_the_names_and_types_of_what_it_takes_and_gives(twins: Artifact) -> None:
    with Session(twins.path) as session:
        x = {"x0": np.ones((2, 32), np.float32), "x1": np.ones((2, 32), np.float32)}
        assert set(session.run(x)) == {"y0", "y1"}
        manifest = session.manifest
    assert set(manifest.parameters) == set(manifest.weights)
    assert all(spec.dtype == "float32" for spec in manifest.weights.values())


def empty(tensors: Weights) -> Weights:
    return {name: np.zeros((0,), np.float32) for name in tensors}


def short(tensors: Weights) -> Weights:
    return {name: array[:-1] for name, array in tensors.items()}


def of_another_rank(tensors: Weights) -> Weights:
    return {name: array[None] for name, array in tensors.items()}


def of_another_type(tensors: Weights) -> Weights:
    return {name: array.astype(np.float64) for name, array in tensors.items()}


def without_the_first(tensors: Weights) -> Weights:
    return dict(list(tensors.items())[1:])


@pytest.mark.parametrize(
    "change", [empty, short, of_another_rank, of_another_type, without_the_first]
)
def test_weights_that_the_manifest_does_not_describe_are_refused(
    small_artifact: Artifact, tmp_path: Path, change: Callable[[Weights], Weights]
) -> None:
    path = rewritten(small_artifact, tmp_path / "changed.ingot", weights=change)
    with pytest.raises(ArtifactError, match=r"weight 'weight_\d' is (missing|\w+\[.*\], its code)"):
        Session(path)


@pytest.mark.parametrize("change", [empty, short, of_another_rank, of_another_type])
def test_weights_that_the_code_does_not_take_are_refused_though_the_manifest_describes_them(
    small_artifact: Artifact, tmp_path: Path, change: Callable[[Weights], Weights]
) -> None:
    def described(manifest: Manifest) -> Manifest:
        given = {name: np.zeros(spec.shape, spec.dtype) for name, spec in manifest.weights.items()}
        return restated(manifest, change(given))

    path = rewritten(small_artifact, tmp_path / "changed.ingot", described, change)
    with pytest.raises(ArtifactError, match="its code has the weight weight_0: float32"):
        Session(path)


def swap(specs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (specs[1], specs[0], *specs[2:])


@pytest.mark.parametrize("field", ["inputs", "outputs", "parameters"])
def test_two_tensors_of_one_type_do_not_change_places(
    twins: Artifact, tmp_path: Path, field: str
) -> None:
    def swapped(manifest: Manifest) -> Manifest:
        return dataclasses.replace(manifest, **{field: swap(getattr(manifest, field))})

    path = rewritten(twins, tmp_path / "swapped.ingot", swapped)
    with pytest.raises(
        ArtifactError, match=r"its code has the (in|out)put|its code has the weight"
    ):
        Session(path)


def more(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return (*specs, TensorSpec("more", "float32", (2, 32)))


def fewer(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return specs[:1]


def wider(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return (dataclasses.replace(specs[0], shape=(2, 33)), *specs[1:])


def whole_numbers(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return (dataclasses.replace(specs[0], dtype="int32"), *specs[1:])


@pytest.mark.parametrize("change", [more, fewer, wider, whole_numbers])
@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_inputs_and_outputs_that_code_does_not_have_are_refused(
    twins: Artifact,
    tmp_path: Path,
    field: str,
    change: Callable[[tuple[TensorSpec, ...]], tuple[TensorSpec, ...]],
) -> None:
    def changed(manifest: Manifest) -> Manifest:
        return dataclasses.replace(manifest, **{field: change(getattr(manifest, field))})

    path = rewritten(twins, tmp_path / "changed.ingot", changed)
    with pytest.raises(ArtifactError, match="the artifact is damaged: its code has"):
        Session(path)
