"""The architecture of the bundled CIFAR-10 network.

A plain residual network (He et al., "Deep Residual Learning for Image Recognition", 2016): a 3 x 3
stem, three stages at 32 x 32, 16 x 16 and 8 x 8 pixels with 16, 32 and 64 channels, 1 x 1
projections where a stage begins, global average pooling and one dense layer. The later, cheaper
stages have more blocks, so that two CPU cores can train it in an hour or two. The training script
and the graph builder both follow the description here, and the weights have the same names in a
checkpoint and as initializers of the ONNX graph.
"""

from __future__ import annotations

from dataclasses import dataclass

STAGES = ((16, 1), (32, 2), (64, 3))
"""Channels and blocks of each stage. The first stage keeps the resolution, the others halve it."""

CLASSES = 10
BATCH_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Block:
    """One residual block: two 3 x 3 convolutions beside an identity or a 1 x 1 projection.

    Attributes:
        name: Prefix of the names of its weights and nodes.
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Stride of its first convolution and of its projection.
    """

    name: str
    in_channels: int
    out_channels: int
    stride: int

    @property
    def projects(self) -> bool:
        """Whether the shortcut needs a 1 x 1 convolution to fit the block's output."""
        return self.stride != 1 or self.in_channels != self.out_channels


def residual_blocks() -> list[Block]:
    """Returns the residual blocks in the order of computation."""
    found = []
    channels = STAGES[0][0]
    for stage, (width, depth) in enumerate(STAGES, start=1):
        for index in range(1, depth + 1):
            stride = 2 if stage > 1 and index == 1 else 1
            found.append(Block(f"stage{stage}.block{index}", channels, width, stride))
            channels = width
    return found


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shape of every weight by its name.

    Convolutions are ``*.weight`` [out, in, height, width]; a batch norm is ``*.scale``, ``*.bias``,
    ``*.mean`` and ``*.variance``, each [channels]; the dense layer is ``classifier.weight``
    [classes, channels] and ``classifier.bias`` [classes].
    """
    shapes = _conv_norm_shapes("stem", 3, STAGES[0][0], 3)
    for block in residual_blocks():
        width = block.out_channels
        shapes |= _conv_norm_shapes(f"{block.name}.conv1", block.in_channels, width, 3)
        shapes |= _conv_norm_shapes(f"{block.name}.conv2", width, width, 3)
        if block.projects:
            shapes |= _conv_norm_shapes(f"{block.name}.shortcut", block.in_channels, width, 1)
    shapes["classifier.weight"] = (CLASSES, STAGES[-1][0])
    shapes["classifier.bias"] = (CLASSES,)
    return shapes


def parameter_count() -> int:
    """Returns how many numbers are learned; running means and variances do not count."""
    total = 0
    for name, shape in weight_shapes().items():
        if not is_running_statistic(name):
            size = 1
            for extent in shape:
                size *= extent
            total += size
    return total


def is_running_statistic(name: str) -> bool:
    """Tells whether a weight is a batch norm's running mean or variance, which is not learned."""
    return name.endswith((".mean", ".variance"))


def _conv_norm_shapes(
    name: str, in_channels: int, out_channels: int, kernel: int
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        f"{name}.weight": (out_channels, in_channels, kernel, kernel)
    }
    for part in ("scale", "bias", "mean", "variance"):
        shapes[f"{name}.{part}"] = (out_channels,)
    return shapes
