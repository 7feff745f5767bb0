"""Artifacts whose manifest states a cost that the test knows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ingot.compiler.artifact_writer import write_artifact
from ingot.runtime import ArtifactReader, Session
from ingot.runtime.manifest import KernelCost
from ingot.runtime.profiler import profile


def with_costs(
    artifact: Path,
    output: Path,
    inputs: dict[str, np.ndarray],
    cost: KernelCost,
    precision: str = "fp32",
) -> list[str]:
    """Copies an artifact to ``output``, its manifest stating ``cost`` for each of its kernels.

    It states ``precision`` for the whole too.

    Returns:
        The kernels' names.
    """
    with Session(artifact, threads=1) as session:
        names = [kernel.name for kernel in profile(session, inputs, inferences=1).kernels]
    reader = ArtifactReader(artifact)
    costs = {name: dataclasses.asdict(cost) for name in names}
    placement = {"cpu": {**reader.manifest.placement["cpu"], "kernels": costs}}
    manifest = dataclasses.replace(
        reader.manifest,
        placement=placement,
        precision={**reader.manifest.precision, "default": precision},
    )
    write_artifact(output, manifest, {name: reader.member(name) for name in manifest.members})
    return names
