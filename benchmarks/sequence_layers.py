"""Latency of recurrent layers and Fourier transforms on this CPU, against ONNX Runtime.

Each layer is a model of its own with seeded weights, compiled for one size and timed in turn with
its peers, as the reference models are by benchmarks/cpu_fp32.py:

    python benchmarks/sequence_layers.py --threads 1 --against onnxruntime

or some of them: --models lstm_100x1x128,stft_16000_512.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cpu_fp32 import measure, tabulate
from benchmarks.latency import latency_options, run_built

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent_layer(
    operator: str, steps: int, batch: int, units: int, *, directions: int = 1, **attributes: object
) -> onnx.ModelProto:
    """Returns a model of one layer with as many inputs as units."""
    generator = np.random.default_rng(0)
    rows = _GATES[operator] * units
    shapes = {
        "w": (directions, rows, units),
        "r": (directions, rows, units),
        "b": (directions, 2 * rows),
    }
    weights = {
        name: (generator.normal(size=shape) / np.sqrt(units)).astype(np.float32)
        for name, shape in shapes.items()
    }
    if directions == 2:
        attributes["direction"] = "bidirectional"
    node = helper.make_node(
        operator, ["x", *weights], ["y"], "layer", hidden_size=units, **attributes
    )
    return _model(node, (steps, batch, units), (steps, directions, batch, units), weights)


def short_time_transform(samples: int, points: int, step: int) -> onnx.ModelProto:
    """Returns a model of one STFT of a real signal under a Hann window."""
    constants = {
        "step": np.array(step),
        "window": np.hanning(points + 1)[1:].astype(np.float32),
    }
    node = helper.make_node("STFT", ["x", *constants], ["y"], "layer", onesided=1)
    frames = (samples - points) // step + 1
    return _model(node, (1, samples, 1), (1, frames, points // 2 + 1, 2), constants)


def _model(
    node: onnx.NodeProto,
    shape: Sequence[int],
    result: Sequence[int],
    constants: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


LAYERS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "lstm_100x1x128": lambda: recurrent_layer("LSTM", 100, 1, 128),
    "lstm_50x1x512": lambda: recurrent_layer("LSTM", 50, 1, 512),
    "lstm_50x8x256": lambda: recurrent_layer("LSTM", 50, 8, 256),
    "lstm_26x1x256_both": lambda: recurrent_layer("LSTM", 26, 1, 256, directions=2),
    "gru_100x1x128": lambda: recurrent_layer("GRU", 100, 1, 128),
    "gru_50x8x256_after": lambda: recurrent_layer("GRU", 50, 8, 256, linear_before_reset=1),
    "rnn_100x1x128": lambda: recurrent_layer("RNN", 100, 1, 128),
    "stft_16000_512": lambda: short_time_transform(16000, 512, 128),
    "stft_16000_400": lambda: short_time_transform(16000, 400, 160),
    "stft_48000_2048": lambda: short_time_transform(48000, 2048, 512),
}
"""Layers by name: steps x batch x units, in both directions or with the reset after the product;
samples and points of a frame."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    parser = latency_options(__doc__, ("onnxruntime",))
    return run_built(parser, arguments, LAYERS, measure, tabulate)


if __name__ == "__main__":
    sys.exit(main())
