"""Reading, transforming and writing waveforms."""

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")  # files that are taken from a folder
