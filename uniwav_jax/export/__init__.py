"""Weights for other frameworks and back: PyTorch, transformers, ONNX (see `write` and `torch`)."""
