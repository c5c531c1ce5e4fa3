"""UniWav in PyTorch, for inference; `uniwav_model.load` reads an exported folder."""
