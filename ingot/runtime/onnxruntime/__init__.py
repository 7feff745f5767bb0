"""Regions that ONNX Runtime runs; needs the extra `fallback`."""
