"""Measures on arrays, texts and waveforms; evaluation/ applies them to models and files."""
