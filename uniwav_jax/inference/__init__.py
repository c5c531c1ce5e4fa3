"""Using a trained model: recognition, alignment, representations, latents; audio of any length."""
