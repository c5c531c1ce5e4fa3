#!/usr/bin/env bash
# transformers 5.24.0: `from_pretrained` replaces buffers that are not saved (persistent=False) by
# uninitialised memory, without a warning, even if the constructor computes them on the CPU. The same
# model by its constructor has its values. A model with such constants gives NaN or other numbers.
#
# Output seen (the second line may vary):
#   made: [1.0, 2.0, 3.0]
#   loaded: [0.0, 0.0, 0.0]
#
# The exit status is 1 if this is no longer true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import torch
from transformers import PretrainedConfig, PreTrainedModel


class Config(PretrainedConfig):
    model_type = "constants"


class Model(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(1))
        constant = torch.arange(1, 1001, device="cpu", dtype=torch.float64).float()
        self.register_buffer("constant", constant, persistent=False)
        self.post_init()


made = Model(Config())
made.save_pretrained(sys.argv[1])
used = [torch.full((1000,), 7.0) for _ in range(100)]  # memory that is not zero is used again
del used
loaded = Model.from_pretrained(sys.argv[1])
print("made:", made.constant[:3].tolist())
print("loaded:", loaded.constant[:3].tolist())
assert torch.equal(loaded.scale, made.scale)
assert not torch.equal(loaded.constant, made.constant)
PYTHON
