"""Speech networks: Whisper style encoder and decoder step, and a wav2vec style encoder.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022); Baevski et al.,
"wav2vec 2.0" (2020). Written as traced exports are: layer norms and GELU by erf spelled out.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx

from benchmarks.networks.graph import GraphWriter
from benchmarks.networks.transformer import Transformer


@dataclasses.dataclass(frozen=True)
class Whisper:
    """Sizes; the defaults are those of the smallest that was published.

    Attributes:
        layers: Layers of the encoder, and of the decoder.
        hidden: Features.
        heads: Attention heads.
        mels: Bands of the spectrogram.
        vocabulary: Tokens.
        positions: Frames that the encoder makes of the whole window; half of those that go in.
        text: Longest text.
        batch: Windows at once; open where it is a name.
        past: Tokens that were decoded before; open where it is a name.
        seed: Of the weights.
    """

    layers: int = 4
    hidden: int = 384
    heads: int = 6
    mels: int = 80
    vocabulary: int = 51865
    positions: int = 1500
    text: int = 448
    batch: int | str = "batch"
    past: int | str = "past"
    seed: int = 0


def whisper_encoder(sizes: Whisper) -> onnx.ModelProto:
    """Builds an encoder.

    Returns:
        A model from ``mel`` [batch, mels, 2 * positions] to ``states`` [batch, positions, hidden].
    """
    s = sizes
    g = GraphWriter("whisper_encoder", opset=17, seed=s.seed)
    block = Transformer(g, s.hidden, s.heads)
    x = g.input("mel", np.float32, [s.batch, s.mels, 2 * s.positions])
    for inputs, stride in ((s.mels, 1), (s.hidden, 2)):
        scale = 1.0 / math.sqrt(inputs * 3)
        filters = g.weight(s.hidden, inputs, 3, scale=scale)
        bias = g.weight(s.hidden, scale=0.02, name="bias")
        x = g.op("Conv", x, filters, bias, pads=[1, 1], strides=[stride])
        x = block.gelu(x)
    x = g.op("Add", g.transpose(x, 0, 2, 1), g.weight(s.positions, s.hidden, scale=0.02))
    for _ in range(s.layers):
        x = block.attended(x)
        x = block.fed_forward(x, 4 * s.hidden)
    g.output("states", block.norm(x), [s.batch, s.positions, s.hidden])
    return g.model()


def whisper_decoder_step(sizes: Whisper) -> onnx.ModelProto:
    """Builds the decoder for one further token.

    Returns:
        A model from ``token`` [batch, 1], int64, ``past_key_N`` and ``past_value_N`` [batch, heads,
        past, size], and ``cross_key_N`` and ``cross_value_N`` [batch, heads, positions, size], to
        ``logits`` [batch, 1, vocabulary], ``present_key_N`` and ``present_value_N``.
    """
    s = sizes
    size = s.hidden // s.heads
    g = GraphWriter("whisper_decoder", opset=17, seed=s.seed)
    block = Transformer(g, s.hidden, s.heads)
    token = g.input("token", np.int64, [s.batch, 1])

    def cache(name: str, layer: int, length: int | str) -> list[str]:
        shape = [s.batch, s.heads, length, size]
        return [g.input(f"{name}_{part}_{layer}", np.float32, shape) for part in ("key", "value")]

    pasts = [cache("past", layer, s.past) for layer in range(s.layers)]
    crosses = [cache("cross", layer, s.positions) for layer in range(s.layers)]
    table = g.weight(s.vocabulary, s.hidden, scale=0.02, name="tokens")
    places = g.weight(s.text, s.hidden, scale=0.02, name="positions")
    x = g.op("Add", g.op("Gather", table, token), g.op("Gather", places, g.size(pasts[0][0], 2)))
    present: dict[str, str] = {}
    total = s.past + 1 if isinstance(s.past, int) else f"{s.past} + 1"
    for layer, (past, cross) in enumerate(zip(pasts, crosses, strict=True)):
        query, key, value = block.projected(block.norm(x))
        key, value = (
            g.op("Concat", old, new, axis=2) for old, new in zip(past, (key, value), strict=True)
        )
        present |= {f"present_key_{layer}": key, f"present_value_{layer}": value}
        x = g.op("Add", x, block.joined(block.weighed(query, key, value)))
        query = block.split(g.linear(block.norm(x), s.hidden, s.hidden))
        x = g.op("Add", x, block.joined(block.weighed(query, *cross)))
        x = block.fed_forward(x, 4 * s.hidden)
    logits = g.op("MatMul", block.norm(x), g.transpose(table, 1, 0))
    g.output("logits", logits, [s.batch, 1, s.vocabulary])
    for name, value in present.items():
        g.output(name, value, [s.batch, s.heads, total, size])
    return g.model()


@dataclasses.dataclass(frozen=True)
class Wav2Vec:
    """Sizes; the defaults are those of the base network.

    Attributes:
        layers: Transformer layers.
        hidden: Their features.
        heads: Attention heads.
        channels: Features of the convolutions over samples.
        groups: Groups of the convolution that makes positions.
        taps: Its taps.
        batch: Recordings at once; open where it is a name.
        samples: Of a recording, at 16 kHz; open where it is a name.
        seed: Of the weights.
    """

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    channels: int = 512
    groups: int = 16
    taps: int = 128
    batch: int | str = "batch"
    samples: int | str = "samples"
    seed: int = 0


# Taps and strides of the convolutions over samples.
_WINDOWS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))


def wav2vec(sizes: Wav2Vec) -> onnx.ModelProto:
    """Builds an encoder.

    Returns:
        A model from ``samples`` [batch, samples] to ``states`` [batch, frames, hidden].
    """
    s = sizes
    g = GraphWriter("wav2vec", opset=17, seed=s.seed)
    block = Transformer(g, s.hidden, s.heads)
    x = g.unsqueeze(g.input("samples", np.float32, [s.batch, s.samples]), 1)
    inputs = 1
    for index, (taps, stride) in enumerate(_WINDOWS):
        filters = g.weight(s.channels, inputs, taps, scale=1.0 / math.sqrt(inputs * taps))
        x = g.op("Conv", x, filters, strides=[stride])
        if index == 0:
            ones, zeros = (g.array(np.full(s.channels, v, np.float32)) for v in (1.0, 0.0))
            x = g.op("InstanceNormalization", x, ones, zeros, epsilon=1e-5)
        x = block.gelu(x)
        inputs = s.channels
    x = block.norm(g.transpose(x, 0, 2, 1), s.channels)
    x = g.linear(x, s.channels, s.hidden)
    each = s.hidden // s.groups
    filters = g.weight(s.hidden, each, s.taps, scale=1.0 / math.sqrt(each * s.taps))
    places = g.op("Conv", g.transpose(x, 0, 2, 1), filters, pads=[s.taps // 2] * 2, group=s.groups)
    # An even number of taps makes one frame too many.
    places = block.gelu(g.slice(places, 0, -1, 2)) if s.taps % 2 == 0 else block.gelu(places)
    x = block.norm(g.op("Add", x, g.transpose(places, 0, 2, 1)))
    for _ in range(s.layers):
        x = block.attended(x, before=False)
        x = block.fed_forward(x, 4 * s.hidden, before=False)
    g.output("states", x, [s.batch, "frames" if isinstance(s.samples, str) else _frames(s.samples),
                           s.hidden])  # fmt: skip
    return g.model()


def _frames(samples: int) -> int:
    for taps, stride in _WINDOWS:
        samples = (samples - taps) // stride + 1
    return samples
