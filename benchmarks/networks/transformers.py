"""Transformers on images: ViT, Swin, MobileViT and SegFormer, as exporters write them.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021); Liu et al., "Swin Transformer" (2021);
Mehta and Rastegari, "MobileViT" (2022); Xie et al., "SegFormer" (2021).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class VisionTransformer:
    """ViT: patches as tokens, a token for the class.

    Attributes:
        features: Of a token.
        layers: Encoder layers.
        heads: Attention heads.
        patch: Side of a patch.
        size: Side of the image, a multiple of ``patch``; positions are learned for it.
        classes: Classes.
        batch: Images at once; open where it is a name.
        seed: Of the weights.
    """

    features: int = 384
    layers: int = 12
    heads: int = 6
    patch: int = 16
    size: int = 224
    classes: int = 1000
    batch: int | str = 1
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``logits``."""
        graph = ImageWriter("vit", opset=17, seed=self.seed)
        image = graph.input("image", np.float32, [self.batch, 3, self.size, self.size])
        x = graph.conv(image, 3, self.features, self.patch, stride=self.patch, pad=0)
        x = graph.transpose(graph.op("Reshape", x, graph.ints(0, self.features, -1)), 0, 2, 1)
        batch = graph.size(image, 0)
        start = graph.weight(1, 1, self.features, scale=0.5, name="class_token")
        start = graph.op("Expand", start, graph.sizes(batch, 1, self.features))
        x = graph.op("Concat", start, x, axis=1)
        places = (self.size // self.patch) ** 2 + 1
        x = graph.op("Add", x, graph.weight(1, places, self.features, scale=0.2, name="position"))
        for _ in range(self.layers):
            x = graph.encoder_layer(x, self.features, self.heads, 4 * self.features)
        first = graph.op("Gather", graph.layer_norm(x, self.features), graph.integer(0), axis=1)
        logits = graph.linear(first, self.features, self.classes)
        graph.output("logits", logits, [self.batch, self.classes])
        return graph.model()


@dataclasses.dataclass(frozen=True)
class Swin:
    """Swin: attention within windows, which are shifted by a half in every second block.

    Attributes:
        features: Of the first stage's tokens; doubled from stage to stage.
        depths: Blocks of the stages.
        heads: Of the first stage; doubled likewise.
        window: Side of a window.
        size: Side of the image, such that each stage is a multiple of ``window`` wide.
        classes: Classes.
        batch: Images at once; open where it is a name.
        seed: Of the weights.
    """

    features: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: int = 3
    window: int = 7
    size: int = 224
    classes: int = 1000
    batch: int | str = 1
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``logits``."""
        graph = ImageWriter("swin", opset=17, seed=self.seed)
        x = graph.input("image", np.float32, [self.batch, 3, self.size, self.size])
        features, side, heads = self.features, self.size // 4, self.heads
        x = graph.conv(x, 3, features, 4, stride=4, pad=0)
        x = graph.layer_norm(graph.transpose(x, 0, 2, 3, 1), features)
        for stage, depth in enumerate(self.depths):
            if stage:
                x = self._merged(graph, x, features)
                features, side, heads = 2 * features, side // 2, 2 * heads
            for block in range(depth):
                shift = self.window // 2 if block % 2 and side > self.window else 0
                x = self._block(graph, x, features, side, heads, shift)
        x = graph.layer_norm(x, features)
        mean = graph.op("ReduceMean", x, axes=[1, 2], keepdims=0)
        logits = graph.linear(mean, features, self.classes)
        graph.output("logits", logits, [self.batch, self.classes])
        return graph.model()

    def _merged(self, graph: ImageWriter, x: str, features: int) -> str:
        """Four neighbours as one token of twice the features."""
        ends = graph.ints(2**31 - 1, 2**31 - 1)
        parts = [
            graph.op("Slice", x, graph.ints(top, left), ends, graph.ints(1, 2), graph.ints(2, 2))
            for left in (0, 1)
            for top in (0, 1)
        ]
        joined = graph.layer_norm(graph.op("Concat", *parts, axis=3), 4 * features)
        return graph.linear(joined, 4 * features, 2 * features, bias=False)

    def _rolled(self, graph: ImageWriter, x: str, shift: int) -> str:
        """Rows and columns moved round by a shift, as torch.roll is exported."""
        for axis in (1, 2):
            tail = graph.slice(x, shift, 2**31 - 1, axis)
            head = graph.slice(x, 0, shift, axis)
            x = graph.op("Concat", tail, head, axis=axis)
        return x

    def _block(
        self, graph: ImageWriter, x: str, features: int, side: int, heads: int, shift: int
    ) -> str:
        window, count = self.window, side // self.window
        y = graph.layer_norm(x, features)
        if shift:
            y = self._rolled(graph, y, shift)
        y = graph.op("Reshape", y, graph.ints(-1, count, window, count, window, features))
        y = graph.transpose(y, 0, 1, 3, 2, 4, 5)
        y = graph.op("Reshape", y, graph.ints(-1, window**2, features))
        y = self._attention(graph, y, features, heads, count, shift)
        y = graph.op("Reshape", y, graph.ints(-1, count, count, window, window, features))
        y = graph.transpose(y, 0, 1, 3, 2, 4, 5)
        y = graph.op("Reshape", y, graph.ints(-1, side, side, features))
        if shift:
            y = self._rolled(graph, y, -shift)
        x = graph.op("Add", x, y)
        fed = graph.feed_forward(graph.layer_norm(x, features), features, 4 * features)
        return graph.op("Add", x, fed)

    def _attention(
        self, graph: ImageWriter, x: str, features: int, heads: int, count: int, shift: int
    ) -> str:
        """Attention within windows, with a bias per distance and a mask between what was apart."""
        tokens, width = self.window**2, features // heads
        joined = graph.linear(x, features, 3 * features)
        split = graph.op("Reshape", joined, graph.ints(-1, tokens, 3, heads, width))
        parts = graph.transpose(split, 2, 0, 3, 1, 4)
        query, key, value = (
            graph.op("Gather", parts, graph.integer(number), axis=0) for number in range(3)
        )
        scaled = graph.op("Mul", query, graph.number(1.0 / math.sqrt(width)))
        scores = graph.op("MatMul", scaled, graph.transpose(key, 0, 1, 3, 2))
        bias = graph.weight(1, heads, tokens, tokens, scale=0.2, name="bias_of_distance")
        scores = graph.op("Add", scores, bias)
        if shift:
            windows = count * count
            apart = graph.op("Reshape", scores, graph.ints(-1, windows, heads, tokens, tokens))
            mask = graph.array(self._mask(count, shift), "mask")
            apart = graph.op("Add", apart, mask)
            scores = graph.op("Reshape", apart, graph.ints(-1, heads, tokens, tokens))
        mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
        merged = graph.op(
            "Reshape", graph.transpose(mixed, 0, 2, 1, 3), graph.ints(-1, tokens, features)
        )
        return graph.linear(merged, features, features)

    def _mask(self, count: int, shift: int) -> np.ndarray:
        """-100 between tokens that the shift brought together, [1, windows, 1, T, T]."""
        window, side = self.window, count * self.window
        part = np.zeros(side, np.int64)
        part[side - window : side - shift], part[side - shift :] = 1, 2
        regions = 3 * part[:, None] + part[None, :]
        regions = regions.reshape(count, window, count, window).transpose(0, 2, 1, 3)
        flat = regions.reshape(count * count, window * window)
        apart = flat[:, None, :] != flat[:, :, None]
        return np.where(apart, np.float32(-100), np.float32(0))[None, :, None]


@dataclasses.dataclass(frozen=True)
class MobileVit:
    """MobileViT: inverted residuals, then transformers over the pixels at one place of each patch.

    Attributes:
        widths: Channels of the stages; the last two have transformers.
        features: Of the transformers' tokens.
        layers: Of each transformer.
        heads: Attention heads.
        size: Side of the image, a multiple of 32.
        classes: Classes.
        batch: Images at once; open where it is a name.
        seed: Of the weights.
    """

    widths: tuple[int, ...] = (32, 64, 96, 128)
    features: int = 144
    layers: int = 2
    heads: int = 4
    size: int = 256
    classes: int = 1000
    batch: int | str = 1
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``logits``."""
        graph = ImageWriter("mobilevit", opset=17, seed=self.seed)
        x = graph.input("image", np.float32, [self.batch, 3, self.size, self.size])
        x, inputs, side = graph.conv(x, 3, 16, stride=2, activation="SiLU"), 16, self.size // 2
        for stage, width in enumerate(self.widths):
            y = graph.conv(x, inputs, 4 * inputs, 1, activation="SiLU")
            y = graph.conv(y, 4 * inputs, 4 * inputs, stride=2, group=4 * inputs, activation="SiLU")
            x, inputs, side = graph.conv(y, 4 * inputs, width, 1), width, side // 2
            if stage >= len(self.widths) - 2:
                x = self._transformer(graph, x, width, side)
        x = graph.conv(x, inputs, 4 * inputs, 1, activation="SiLU")
        logits = graph.classify(x, 4 * inputs, self.classes)
        graph.output("logits", logits, [self.batch, self.classes])
        return graph.model()

    def _transformer(self, graph: ImageWriter, x: str, width: int, side: int) -> str:
        features, half = self.features, side // 2
        y = graph.conv(x, width, width, activation="SiLU")
        y = graph.conv(y, width, features, 1)
        # [N, C, H, W] to [N * places of a patch, patches, C].
        y = graph.op("Reshape", y, graph.ints(-1, 2, half, 2))
        y = graph.transpose(y, 0, 2, 1, 3)
        y = graph.op("Reshape", y, graph.ints(-1, features, half * half, 4))
        y = graph.transpose(y, 0, 3, 2, 1)
        y = graph.op("Reshape", y, graph.ints(-1, half * half, features))
        for _ in range(self.layers):
            y = graph.encoder_layer(y, features, self.heads, 2 * features)
        y = graph.layer_norm(y, features)
        y = graph.op("Reshape", y, graph.ints(-1, 4, half * half, features))
        y = graph.transpose(y, 0, 3, 2, 1)
        y = graph.op("Reshape", y, graph.ints(-1, half, 2, 2))
        y = graph.transpose(y, 0, 2, 1, 3)
        y = graph.op("Reshape", y, graph.ints(-1, features, side, side))
        y = graph.conv(y, features, width, 1, activation="SiLU")
        joined = graph.op("Concat", x, y, axis=1)
        return graph.conv(joined, 2 * width, width, activation="SiLU")


@dataclasses.dataclass(frozen=True)
class SegFormer:
    """SegFormer: stages of attention to a reduced image, and all stages' maps joined for the mask.

    Attributes:
        widths: Features of the stages.
        heads: Of the stages.
        reductions: By how much keys and values are reduced along each axis.
        depth: Layers of a stage.
        decoder: Channels that each stage's map has for the mask.
        classes: Classes.
        batch: Images at once; open where it is a name, as the following.
        height: A multiple of 32.
        width: Likewise.
        seed: Of the weights.
    """

    widths: tuple[int, ...] = (32, 64, 160, 256)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    depth: int = 2
    decoder: int = 256
    classes: int = 150
    batch: int | str = 1
    height: int | str = 512
    width: int | str = 512
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``scores``, at a quarter of its size."""
        graph = ImageWriter("segformer", opset=17, seed=self.seed)
        x = graph.input("image", np.float32, [self.batch, 3, self.height, self.width])
        maps, inputs = [], 3
        for stage, width in enumerate(self.widths):
            kernel, stride = (7, 4) if stage == 0 else (3, 2)
            x = graph.conv(x, inputs, width, kernel, stride=stride)
            height, breadth = graph.size(x, 2), graph.size(x, 3)
            tokens = self._tokens(graph, x, width)
            tokens = graph.layer_norm(tokens, width)
            for _ in range(self.depth):
                tokens = self._layer(graph, tokens, stage, height, breadth)
            tokens = graph.layer_norm(tokens, width)
            x = self._image(graph, tokens, width, height, breadth)
            maps.append(x)
            inputs = width
        scores = self._decode(graph, maps)
        shape = [self.batch, self.classes, "scores_height", "scores_width"]
        graph.output("scores", scores, shape)
        return graph.model()

    def _tokens(self, graph: ImageWriter, x: str, width: int) -> str:
        return graph.transpose(graph.op("Reshape", x, graph.ints(0, width, -1)), 0, 2, 1)

    def _image(self, graph: ImageWriter, tokens: str, width: int, height: str, breadth: str) -> str:
        batch = graph.size(tokens, 0)
        turned = graph.transpose(tokens, 0, 2, 1)
        return graph.reshape(turned, batch, width, height, breadth)

    def _layer(self, graph: ImageWriter, tokens: str, stage: int, height: str, breadth: str) -> str:
        width, heads, reduction = self.widths[stage], self.heads[stage], self.reductions[stage]
        normed = graph.layer_norm(tokens, width)
        source = normed
        if reduction > 1:
            image = self._image(graph, normed, width, height, breadth)
            image = graph.conv(image, width, width, reduction, stride=reduction, pad=0)
            source = graph.layer_norm(self._tokens(graph, image, width), width)
        query, key, value = (
            self._by_head(graph, graph.linear(given, width, width), width, heads)
            for given in (normed, source, source)
        )
        scores = graph.op("MatMul", query, graph.transpose(key, 0, 1, 3, 2))
        scores = graph.op("Div", scores, graph.number(math.sqrt(width // heads)))
        mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
        mixed = graph.op("Reshape", graph.transpose(mixed, 0, 2, 1, 3), graph.ints(0, -1, width))
        tokens = graph.op("Add", tokens, graph.linear(mixed, width, width))
        fed = graph.linear(graph.layer_norm(tokens, width), width, 4 * width)
        image = self._image(graph, fed, 4 * width, height, breadth)
        image = graph.conv(image, 4 * width, 4 * width, group=4 * width)
        fed = graph.activation(self._tokens(graph, image, 4 * width), "GELU")
        return graph.op("Add", tokens, graph.linear(fed, 4 * width, width))

    def _by_head(self, graph: ImageWriter, x: str, width: int, heads: int) -> str:
        split = graph.op("Reshape", x, graph.ints(0, -1, heads, width // heads))
        return graph.transpose(split, 0, 2, 1, 3)

    def _decode(self, graph: ImageWriter, maps: list[str]) -> str:
        first = graph.slice(graph.op("Shape", maps[0]), 2, 4, 0)
        levels = []
        for x, width in zip(maps, self.widths, strict=True):
            height, breadth = graph.size(x, 2), graph.size(x, 3)
            tokens = graph.linear(self._tokens(graph, x, width), width, self.decoder)
            image = self._image(graph, tokens, self.decoder, height, breadth)
            start = graph.slice(graph.op("Shape", image), 0, 2, 0)
            sizes = graph.op("Concat", start, first, axis=0)
            levels.append(
                graph.op(
                    "Resize", image, "", "", sizes, mode="linear",
                    coordinate_transformation_mode="half_pixel",
                )
            )  # fmt: skip
        joined = graph.op("Concat", *reversed(levels), axis=1)
        mixed = graph.conv(joined, 4 * self.decoder, self.decoder, 1, activation="Relu")
        return graph.conv(mixed, self.decoder, self.classes, 1)
