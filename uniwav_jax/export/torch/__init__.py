"""UniWav in PyTorch; `uniwav_model.load` reads an exported folder."""
