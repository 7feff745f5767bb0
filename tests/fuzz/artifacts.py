"""Mutants of artifacts, their digests right."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ingot.cli.inspect import inspect
from ingot.compiler.artifact_writer import describe_members, write_artifact
from ingot.compiler.build import Artifact, compile_model
from ingot.compiler.signing import make_key, sign_artifact
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.npu.region import FILES
from ingot.runtime.session import Session
from tests.conftest import small_network
from tests.fuzz.forkserver import RAN, RIGHT
from tests.fuzz.mutation import change_tree, changed_bytes, changed_text
from tests.runtime.mutants import Mutants

_GIB = 1 << 30


class WholeArtifacts:
    """The archive, the manifest or the weights' header is changed: it is right or refused."""

    memory = 3 * _GIB
    seconds = 30.0

    def __init__(self, folder: Path) -> None:
        artifact = _compiled(folder)
        self._mutants = Mutants(artifact.path)
        self._image = _image()
        self._expected = _logits(artifact.path, self._image)

    def judge(self, seed: int, folder: Path) -> str:
        path = folder / "mutant.ingot"
        path.write_bytes(self._mutants.make(seed))
        with Session(path, threads=1) as session:
            outputs = session.run({"image": self._image})
        with contextlib.redirect_stdout(io.StringIO()):
            inspect(str(path), as_json=False)
        same = list(outputs) == ["logits"] and np.array_equal(outputs["logits"], self._expected)
        return RIGHT if same else "it gives another result"


class SignedArtifacts:
    """A signed artifact is changed anywhere: its result is right, or it is refused."""

    memory = 3 * _GIB
    seconds = 30.0

    def __init__(self, folder: Path) -> None:
        artifact = _compiled(folder)
        self._key = folder / "key"
        make_key(self._key)
        signed = folder / "signed.ingot"
        sign_artifact(artifact.path, self._key, signed)
        self._mutants = Mutants(signed)
        self._image = _image()
        self._expected = _logits(artifact.path, self._image)

    def judge(self, seed: int, folder: Path) -> str:
        dice = random.Random(seed)
        path, keys = folder / "mutant.ingot", Path(f"{self._key}.pub")
        if dice.random() < 0.2:
            keys = folder / "keys.pem"
            keys.write_bytes(changed_text(Path(f"{self._key}.pub").read_text(), dice))
        path.write_bytes(self._mutants.make(seed))
        with Session(path, threads=1, trust=keys) as session:
            same = np.array_equal(session.run(self._image)["logits"], self._expected)
        return RIGHT if same else "it gives another result"


class Regions:
    """A member of a region is changed, its digests right: it is refused, or is another region."""

    memory = 3 * _GIB
    seconds = 60.0

    def __init__(
        self, artifact: Artifact, folder_name: str, executors: tuple[str | None, ...]
    ) -> None:
        reader = ArtifactReader(artifact.path)
        self._manifest = reader.manifest
        self._members = {name: bytes(reader.member(name)) for name in reader.manifest.members}
        self._own = [name for name in self._members if name.startswith(f"{folder_name}/")]
        self._executors = executors
        self._inputs = {
            spec.name: np.random.default_rng(1)
            .normal(size=[size if isinstance(size, int) else 1 for size in spec.shape])
            .astype(np.float32)
            for spec in artifact.manifest.inputs
        }

    def judge(self, seed: int, folder: Path) -> str:
        dice = random.Random(seed)
        name = dice.choice(self._own)
        members = {**self._members, name: self._changed(name, dice)}
        members = _with_own_digests(members)
        manifest = dataclasses.replace(self._manifest, members=describe_members(members))
        path = folder / "mutant.ingot"
        write_artifact(path, manifest, members)
        with Session(path, threads=1, executor=dice.choice(self._executors)) as session:
            session.run(self._inputs)
        return RAN

    def _changed(self, name: str, dice: random.Random) -> bytes:
        data = self._members[name]
        if not name.endswith(".json"):
            for _ in range(dice.choice([1, 1, 1, 3])):
                data = changed_bytes(data, dice)
            return data
        tree = json.loads(data)
        change_tree(tree, dice)
        return json.dumps(tree).encode()


def _with_own_digests(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Members with the digests that descriptions of NPU regions state, made right."""
    changed = dict(members)
    for name in [name for name in members if name.endswith("/region.json")]:
        try:
            description: Any = json.loads(members[name])
            digests = description["digests"]
            prefix = name.removesuffix("region.json")
            for attribute, file in FILES.items():
                if attribute in digests:
                    digests[attribute] = describe_members({"": members[prefix + file]})[""].sha256
            changed[name] = json.dumps(description).encode()
        except (KeyError, TypeError, ValueError):
            continue  # the change has left none
    return changed


def npu_regions(folder: Path) -> Regions:
    """Mutants of a region for an NPU, run by the reference model and from its command stream."""
    model = small_network(1)
    samples = [{"image": _image()[:1]} for _ in range(4)]
    artifact = compile_model(
        model, folder / "npu.ingot", target="npu:ethos-u55-256", recipe="int8", calibration=samples
    )
    return Regions(artifact, "npu", ("reference", "command-stream"))


def _compiled(folder: Path) -> Artifact:
    return compile_model(small_network(), folder / "small.ingot")


def _image() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 3, 16, 16)).astype(np.float32)


def _logits(path: Path, image: np.ndarray) -> np.ndarray:
    with Session(path, threads=1) as session:
        return session.run(image)["logits"]
