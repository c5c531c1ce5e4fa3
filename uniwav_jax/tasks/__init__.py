"""What is trained: each module offers `init`, `draw`, `loss`, `update` and `evaluate` as functions."""
