"""Regions that ONNX Runtime runs: what no target compiles."""
