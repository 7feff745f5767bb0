"""ONNX to ONNX: the pass contract, the manager, the registry and the passes."""
