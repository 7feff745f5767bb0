"""Architectures as plain builders: a mapping of weights in, an ``onnx_ir.Model`` out."""
