"""Exports models to PyTorch, transformers and ONNX (see `write` and `torch`), and imports them."""
