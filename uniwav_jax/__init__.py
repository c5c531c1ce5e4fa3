"""UniWav in JAX: one speech foundation model that recognises, speaks and tokenizes."""

__version__ = "0.1.0"
