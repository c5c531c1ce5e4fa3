"""Using a trained checkpoint: sampling, recognition, tokenization, features."""
