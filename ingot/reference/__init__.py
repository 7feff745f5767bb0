"""ONNX Runtime as the reference that results are held to."""
