"""Writes checkpoints, reads them, and starts a run from parts of another run's checkpoint."""
