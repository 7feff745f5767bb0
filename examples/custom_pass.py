"""A pass of your own: checked, recorded and bisected like Ingot's.

It replaces GlobalAveragePool and Flatten by one ReduceMean. A recipe names it by module and class.
To give it to others by its plain name, offer it as an entry point in your package's pyproject.toml:

    [project.entry-points."ingot.passes"]
    mine = "my_package.passes:PASSES"     # one class, or a tuple of classes

`ingot passes` then lists it, and a recipe says: passes = ["cleanup", "fusion", "mine.flat-mean"].
docs/write-a-pass.md explains each step.

Run: python examples/custom_pass.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as ir

import ingot
from ingot.models.catalog import resolve
from ingot.onnx_graph.matching import Unfit
from ingot.passes.base import PassOptions
from ingot.passes.fusion import FusionPass
from ingot.passes.fusion.rewriting import Builder, Fusion

_SPATIAL = (2, 3)


class FlatMean(FusionPass[PassOptions]):
    """GlobalAveragePool and Flatten of an image into one ReduceMean."""

    name: ClassVar[str] = "mine.flat-mean"
    summary: ClassVar[str] = "Pool and flatten by one mean."
    candidates: ClassVar[frozenset[str]] = frozenset({"Flatten"})

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches a Flatten right after a GlobalAveragePool."""
        flattened = node.inputs[0]
        pool = None if flattened is None else flattened.producer()
        if pool is None or pool.op_type != "GlobalAveragePool":
            return None
        if node.attributes.get_int("axis", 1) != 1:
            raise Unfit("Flatten splits the shape elsewhere than after the batch")
        image = pool.inputs[0]
        if image is None or image.shape is None or len(image.shape) != 2 + len(_SPATIAL):
            raise Unfit("the pooled value is no batch of images")

        def build(builder: Builder) -> ir.Value:
            axes = builder.initializer(f"{pool.name}.axes", np.array(_SPATIAL, np.int64))
            return builder.node("ReduceMean", [image, axes], {"keepdims": 0})

        return Fusion(node, {node, pool}, build, anchor=pool, opset=18, operator="ReduceMean")


def main() -> None:
    """Compiles the bundled model with the pass and shows its record."""
    recipe = {"name": "with my pass", "passes": ["cleanup", "custom_pass:FlatMean", "fusion"]}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "model.ingot")
        artifact = ingot.compile(resolve("cifar_resnet").path, output, recipe=recipe)
    for record in artifact.manifest.passes:
        if record["name"] == FlatMean.name:
            print(f"{record['name']} applied {record['applied']} time: {record['op_delta']}")
            print(f"largest difference of the outputs: {record['check']['max_abs_error']:.1e}")


if __name__ == "__main__":
    main()
