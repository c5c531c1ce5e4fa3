#!/usr/bin/env bash
# safetensors 0.8.0, NumPy: `save_file` writes the bytes of a transposed array in their order in
# memory and the shape of the transposed view. The file is valid and is read without an error, but
# its values lie at other places. `np.ascontiguousarray` before saving avoids it.
#
# Output seen:
#   [[0, 1, 2], [3, 4, 5]] transposed is read back as [[0, 1], [2, 3], [4, 5]]
#
# The exit status is 1 if this is no longer true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 safetensors==0.8.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

array = np.arange(6).reshape(2, 3)
save_file({"x": array.T}, f"{sys.argv[1]}/x.safetensors")
back = load_file(f"{sys.argv[1]}/x.safetensors")["x"]
print(array.tolist(), "transposed is read back as", back.tolist())
assert back.shape == (3, 2) and not np.array_equal(back, array.T)
save_file({"x": np.ascontiguousarray(array.T)}, f"{sys.argv[1]}/y.safetensors")
assert np.array_equal(load_file(f"{sys.argv[1]}/y.safetensors")["x"], array.T)
PYTHON
