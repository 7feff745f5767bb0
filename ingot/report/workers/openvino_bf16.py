"""Serves an ONNX model by OpenVINO on the CPU, its float operators in bfloat16.

That is OpenVINO's own choice on CPUs with bfloat16, and another precision than the model's: a peer
beside the one in float32, with an accuracy of its own. INT8 models have less of it to lose.
"""

from __future__ import annotations

import functools

from ingot.report.workers.openvino import OpenVinoEngine, imports
from ingot.report.workers.serving import serve

if __name__ == "__main__":
    serve(imports, functools.partial(OpenVinoEngine, precision="bf16"))
