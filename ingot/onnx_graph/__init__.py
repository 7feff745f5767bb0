"""Questions to an ONNX graph, and edits of it, that passes and targets share."""
