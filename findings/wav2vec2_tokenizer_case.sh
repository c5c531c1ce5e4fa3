#!/usr/bin/env bash
# transformers 5.24.0: `do_lower_case=True` of Wav2Vec2CTCTokenizer converts texts to UPPER case
# before it looks up their letters. With a vocabulary of lower-case letters every letter of a label
# becomes the unknown token, without an error, and the CTC loss trains on nothing.
#
# Output seen:
#   do_lower_case=True [0, 0, 0]
#   do_lower_case=False [1, 2, 3]
#
# The exit status is 1 if this is no longer true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import pathlib
import sys

from transformers import Wav2Vec2CTCTokenizer

vocabulary = pathlib.Path(sys.argv[1]) / "vocab.json"
vocabulary.write_text(json.dumps({"<pad>": 0, "c": 1, "a": 2, "t": 3, "|": 4}))
found = {}
for lower in (True, False):
    tokenizer = Wav2Vec2CTCTokenizer(
        str(vocabulary), pad_token="<pad>", unk_token="<pad>", bos_token=None, eos_token=None,
        word_delimiter_token="|", do_lower_case=lower,
    )
    found[lower] = tokenizer("cat").input_ids
    print(f"do_lower_case={lower}", found[lower])
assert found == {True: [0, 0, 0], False: [1, 2, 3]}
PYTHON
