"""Reading, transforming and writing waveforms."""
