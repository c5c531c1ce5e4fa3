"""Speech tokens as a value and as files; making them from audio needs a model and is elsewhere."""
