"""Neural codecs: waveform <-> continuous latents, imported or trained here (paper, section 3)."""
