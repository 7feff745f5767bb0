"""A YOLO-style detector with or without non-maximum suppression: three levels, boxes and classes.

Redmon and Farhadi, "YOLOv3" (2018), with the blocks, the anchor-free head and the distances in bins
of later versions: Jocher et al., "YOLOv8" (2023).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter

_BINS = 16
# Of suppression: boxes of a class, the overlap of two, and the score from which on one counts.
_MOST_BOXES, _OVERLAP, _LEAST_SCORE = 100, 0.45, 0.25


@dataclasses.dataclass(frozen=True)
class Detector:
    """A network's sizes.

    Attributes:
        channels: Of the first layer; four times doubled.
        depth: Residual blocks of a stage.
        classes: Classes of objects.
        batch: Images at once; open where it is a name.
        height: A multiple of 32.
        width: Likewise.
        suppressed: Whether boxes that overlap better ones are left out within the model.
        seed: Of the weights.
    """

    channels: int = 16
    depth: int = 1
    classes: int = 80
    batch: int | str = 1
    height: int | str = 640
    width: int | str = 640
    suppressed: bool = False
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``images`` to ``predictions`` [N, 4 + classes, places].

        With suppression, to ``selected`` [M, 3] (image, class, place), ``boxes`` [M, 4] and
        ``scores`` [M].
        """
        graph = ImageWriter("detector", opset=17, seed=self.seed)
        x = graph.input("images", np.float32, [self.batch, 3, self.height, self.width])
        width = self.channels
        x = graph.conv(x, 3, width, stride=2, activation="SiLU")
        levels: list[str] = []
        for _ in range(4):
            x = graph.conv(x, width, 2 * width, stride=2, activation="SiLU")
            width *= 2
            x = self._stage(graph, x, width, width, shortcut=True)
            levels.append(x)
        small, middle, large = levels[1], levels[2], self._pyramid_pooling(graph, x, width)
        half, quarter = width // 2, width // 4
        middle_up = graph.op("Concat", self._doubled(graph, large), middle, axis=1)
        middle_up = self._stage(graph, middle_up, width + half, half, shortcut=False)
        small_up = graph.op("Concat", self._doubled(graph, middle_up), small, axis=1)
        small_out = self._stage(graph, small_up, half + quarter, quarter, shortcut=False)
        down = graph.conv(small_out, quarter, quarter, stride=2, activation="SiLU")
        middle_out = graph.op("Concat", down, middle_up, axis=1)
        middle_out = self._stage(graph, middle_out, quarter + half, half, shortcut=False)
        down = graph.conv(middle_out, half, half, stride=2, activation="SiLU")
        large_out = graph.op("Concat", down, large, axis=1)
        large_out = self._stage(graph, large_out, half + width, width, shortcut=False)
        heads = [(small_out, quarter), (middle_out, half), (large_out, width)]
        predictions = self._head(graph, heads)
        if self.suppressed:
            self._suppress(graph, predictions)
        else:
            graph.output("predictions", predictions, [self.batch, 4 + self.classes, "p"])
        return graph.model()

    def _suppress(self, graph: ImageWriter, predictions: str) -> None:
        parts = graph.ints(4, self.classes)
        boxes, scores = graph.ops("Split", 2, predictions, parts, axis=1)
        boxes = graph.transpose(boxes, 0, 2, 1)
        limits = (np.int64(_MOST_BOXES), np.float32(_OVERLAP), np.float32(_LEAST_SCORE))
        selected = graph.op(
            "NonMaxSuppression", boxes, scores, *(graph.array(limit) for limit in limits),
            center_point_box=1,
        )  # fmt: skip
        place = graph.op("Gather", selected, graph.ints(0, 2), axis=1)
        graph.output("selected", selected, ["M", 3], np.int64)
        graph.output("boxes", graph.op("GatherND", boxes, place), ["M", 4])
        graph.output("scores", graph.op("GatherND", scores, selected), ["M"])

    def _stage(
        self, graph: ImageWriter, x: str, inputs: int, outputs: int, *, shortcut: bool
    ) -> str:
        """Splits the channels, sends a half through blocks, and joins all that came out."""
        half = outputs // 2
        x = graph.conv(x, inputs, outputs, 1, activation="SiLU")
        parts = graph.ops("Split", 2, x, graph.ints(half, half), axis=1)
        for _ in range(self.depth):
            y = graph.conv(parts[-1], half, half, activation="SiLU")
            y = graph.conv(y, half, half, activation="SiLU")
            parts.append(graph.op("Add", parts[-1], y) if shortcut else y)
        joined = graph.op("Concat", *parts, axis=1)
        return graph.conv(joined, half * len(parts), outputs, 1, activation="SiLU")

    def _pyramid_pooling(self, graph: ImageWriter, x: str, channels: int) -> str:
        half = channels // 2
        parts = [graph.conv(x, channels, half, 1, activation="SiLU")]
        for _ in range(3):
            parts.append(
                graph.op(
                    "MaxPool", parts[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2]
                )
            )
        joined = graph.op("Concat", *parts, axis=1)
        return graph.conv(joined, 4 * half, channels, 1, activation="SiLU")

    def _doubled(self, graph: ImageWriter, x: str) -> str:
        scales = graph.array(np.array([1, 1, 2, 2], np.float32))
        return graph.op(
            "Resize", x, "", scales, mode="nearest", nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )  # fmt: skip

    def _head(self, graph: ImageWriter, levels: list[tuple[str, int]]) -> str:
        """Distances as the mean of a distribution over bins, and a probability per class."""
        flat = []
        for x, channels in levels:
            y = graph.conv(x, channels, channels, activation="SiLU")
            boxes = graph.conv(y, channels, 4 * _BINS, 1)
            y = graph.conv(x, channels, channels, activation="SiLU")
            scores = graph.conv(y, channels, self.classes, 1)
            both = graph.op("Concat", boxes, scores, axis=1)
            flat.append(graph.op("Reshape", both, graph.ints(0, 4 * _BINS + self.classes, -1)))
        joined = graph.op("Concat", *flat, axis=2)
        boxes, scores = graph.ops("Split", 2, joined, graph.ints(4 * _BINS, self.classes), axis=1)
        bins = graph.op("Reshape", boxes, graph.ints(0, 4, _BINS, -1))
        bins = graph.op("Softmax", graph.transpose(bins, 0, 2, 1, 3), axis=1)
        numbers = graph.array(np.arange(_BINS, dtype=np.float32).reshape(1, _BINS, 1, 1))
        distances = graph.op("Conv", bins, numbers)
        distances = graph.op("Squeeze", distances, graph.ints(1))
        return graph.op("Concat", distances, graph.op("Sigmoid", scores), axis=1)
