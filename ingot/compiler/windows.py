"""Whether the windows of a model fit its images, at the sizes of a run.

An average over a window that is larger than its image is not defined by ONNX: ONNX Runtime takes
what there is of the window, others give an empty image. Nothing can be compared at such sizes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ingot.reference.session import Reference, Value

_WINDOWED = frozenset({"AveragePool", "Conv", "ConvInteger", "LpPool", "MaxPool", "QLinearConv"})


class Windows:
    """The convolutions and pools of a model's main graph.

    Args:
        model: The model; not changed.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._nodes = [
            node
            for node in model.graph
            if node.domain == "" and node.op_type in _WINDOWED and _explicit(node)
        ]
        self._reference: Reference | None = None

    def fit(self, inputs: Mapping[str, Value]) -> bool:
        """Whether each window lies within its image and the padding around it.

        Args:
            inputs: An array for each input of the model.
        """
        if not self._nodes:
            return True
        images = [node.inputs[0] for node in self._nodes]
        made = {str(v.name) for v in images if v is not None and v.producer() is not None}
        if self._reference is None:
            self._reference = Reference(self._model, expose=sorted(made))
        values = {**inputs, **(self._reference.run(inputs, sorted(made)) if made else {})}
        return all(_fits(node, values) for node in self._nodes)


def _explicit(node: ir.Node) -> bool:
    return node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _kernel(node: ir.Node) -> list[int]:
    weights = node.inputs[3] if node.op_type == "QLinearConv" else None
    if node.op_type in ("Conv", "ConvInteger"):
        weights = node.inputs[1]
    known = [] if weights is None or weights.shape is None else list(weights.shape)[2:]
    sizes = node.attributes.get_ints("kernel_shape", [n for n in known if isinstance(n, int)])
    return list(sizes or ())


def _fits(node: ir.Node, values: Mapping[str, Value]) -> bool:
    image = values.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
    kernel = _kernel(node)
    if not isinstance(image, np.ndarray) or image.ndim != len(kernel) + 2:
        return True
    rank = len(kernel)
    pads = node.attributes.get_ints("pads", [0] * 2 * rank) or [0] * 2 * rank
    dilations = node.attributes.get_ints("dilations", [1] * rank) or [1] * rank
    return all(
        size + pads[axis] + pads[axis + rank] >= (kernel[axis] - 1) * dilations[axis] + 1
        for axis, size in enumerate(image.shape[2:])
    )
