"""Checkpoints: writing, reading, moving parts of one run to another."""
