"""Other servers with ONNX Runtime behind them, each the way its documentation shows."""
