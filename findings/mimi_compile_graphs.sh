#!/usr/bin/env bash
# transformers 5.24.0, torch 2.13.0: torch.compile cuts the encoder of MimiModel at each convolution,
# because the amounts of padding are tensors without axes, whose values the compiler does not know.
# All convolutions share the code after the cut, and after eight versions of it Dynamo gives up: the
# last convolutions run eagerly, with the right result and a warning in the log. A benchmark that
# calls this the compiled Mimi times little compiled code; on our two cores it is slower than eager.
#
# Output seen:
#   convolutions: 15
#   compiled graphs of one call: 13
#   gave up at 8 versions: True
#   the same result: True
#
# The exit status is 1 if this is no longer true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0
"$folder/venv/bin/python" - <<'PYTHON'
import logging

import torch
import transformers
from torch._dynamo.testing import CompileCounterWithBackend

messages = []
handler = logging.Handler()
handler.emit = lambda record: messages.append(record.getMessage())
logging.getLogger("torch._dynamo").addHandler(handler)

torch.manual_seed(0)
widths = {"num_filters": 8, "hidden_size": 64, "upsample_groups": 64, "intermediate_size": 64}
heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16}
books = {"codebook_dim": 32, "vector_quantization_hidden_dimension": 32}
config = transformers.MimiConfig(num_hidden_layers=1, **widths, **heads, **books)
encoder = transformers.MimiModel(config).eval().encoder
counter = CompileCounterWithBackend("aot_eager")
audio = torch.randn(1, 1, 24000)
with torch.inference_mode():
    wanted = encoder(audio)[0]
    found = torch.compile(encoder, backend=counter)(audio)[0]
count = sum(isinstance(module, torch.nn.Conv1d) for module in encoder.modules())
gave_up = any("recompile_limit (8)" in message for message in messages)
same = torch.allclose(wanted, found, atol=1e-5)
print("convolutions:", count)
print("compiled graphs of one call:", counter.frame_count)
print("gave up at 8 versions:", gave_up)
print("the same result:", same)
assert (count, counter.frame_count, gave_up, same) == (15, 13, True, True)
PYTHON
