"""What follows a convolution or a matmul in models, and is computed with it in one kernel."""

from __future__ import annotations

from tests.targets.cpu.networks import Network, normal

EPILOGUES = (
    "none",
    "bias",
    "relu",
    "clip",
    "silu",
    "gelu",
    "residual",
    "bias, residual, relu",
    "scale per channel",
    "leaky relu",
    "scalar",
)


def apply_epilogue(
    network: Network, kind: str, y: str, shape: tuple[int | str, ...], axis: int
) -> str:
    """Adds one of the epilogues behind a value.

    Args:
        network: The network.
        kind: Which of them.
        y: The value.
        shape: Its shape.
        axis: Its axis of channels.
    """
    channels = shape[axis]
    assert isinstance(channels, int)
    per_channel = (channels, *[1] * (len(shape) - axis - 1))

    def values(seed: int) -> str:
        return network.constant(normal(*per_channel, seed=seed))

    if kind == "bias":
        return network.apply("Add", y, values(5))
    if kind == "relu":
        return network.apply("Relu", y)
    if kind == "clip":
        return network.apply("Clip", y, network.constant(0.0), network.constant(0.5))
    if kind == "silu":
        return network.apply("Mul", y, network.apply("Sigmoid", y))
    if kind == "gelu":
        return network.apply("Gelu", y)
    if kind == "residual":
        return network.apply("Add", y, network.input(*shape))
    if kind == "bias, residual, relu":
        y = network.apply("Add", network.apply("Add", y, values(6)), network.input(*shape))
        return network.apply("Relu", y)
    if kind == "scale per channel":
        return network.apply("Mul", values(7), y)
    if kind == "leaky relu":
        return network.apply("LeakyRelu", y, alpha=0.1)
    if kind == "scalar":
        return network.apply("Mul", y, network.constant(0.25))
    assert kind == "none"
    return y
