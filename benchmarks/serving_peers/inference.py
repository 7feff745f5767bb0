"""What all of them run: ONNX Runtime on the same model, on the bytes of tensors."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import onnxruntime

# What a server is told: the model's file, threads, and its inputs as [[name, dtype, shape], ...].
FACTS = json.loads(os.environ.get("PEER_FACTS", "{}"))


class Model:
    """A model in ONNX Runtime."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = FACTS["threads"]
        self._session = onnxruntime.InferenceSession(
            FACTS["model"], options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [
            (name, np.dtype(dtype), tuple(shape)) for name, dtype, shape in FACTS["inputs"]
        ]

    def read(self, body: bytes) -> list[Any]:
        """Returns the tensors of one request: their bytes, one behind another."""
        tensors, at = [], 0
        for _, dtype, shape in self._inputs:
            size = int(np.prod(shape)) * dtype.itemsize
            tensors.append(
                np.frombuffer(body, dtype, offset=at, count=size // dtype.itemsize).reshape(shape)
            )
            at += size
        return tensors

    def run(self, requests: list[list[Any]]) -> list[bytes]:
        """Runs requests as one batch; returns the bytes of each first output."""
        batch = {
            name: np.concatenate([request[i] for request in requests])
            for i, (name, _, _) in enumerate(self._inputs)
        }
        (output, *_) = self._session.run(None, batch)
        return [output[i : i + 1].tobytes() for i in range(len(requests))]
