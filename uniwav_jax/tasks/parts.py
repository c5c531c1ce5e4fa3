"""Parts of models that several tasks share."""

from uniwav_jax.tasks.task import Part

ENCODER = Part(("params/encoder", "state/teacher"), ("model.encoder",))
