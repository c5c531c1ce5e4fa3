#!/usr/bin/env bash
# This shows what phonemizer 3.4.0 does with espeak-ng's American voice (espeakng-loader 0.2.4).
#
# 1. With preserve_punctuation=True, which keeps commas and question marks for pauses, the point of
#    a decimal number is punctuation too: "It is 3.5 now." is spoken as "It is three. five now.",
#    in two lines. Without the option it is "three point five". Numbers must be words before.
# 2. An empty text in a list has no entry in the result, with or without the option, so that the
#    result is shorter than the list, and later entries belong to other texts.
#
# The exit status is 1 if one of the two is no longer true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet phonemizer==3.4.0 espeakng-loader==0.2.4
cat > "$folder/check.py" <<'PYTHON'
import sys

import espeakng_loader
from phonemizer import phonemize
from phonemizer.backend.espeak.wrapper import EspeakWrapper

EspeakWrapper.set_library(espeakng_loader.get_library_path())
EspeakWrapper.set_data_path(espeakng_loader.get_data_path())


def spoken(text, keep):
    return phonemize(
        text, language="en-us", backend="espeak", strip=True, preserve_punctuation=keep
    )


number = {keep: spoken("It is 3.5 now.", keep) for keep in (False, True)}
texts = {keep: spoken(["one", "", "two"], keep) for keep in (False, True)}
for keep in (False, True):
    print(f"preserve_punctuation={keep}: {number[keep]!r} {texts[keep]}")
unchanged = "pɔɪnt" in number[False] and "pɔɪnt" not in number[True]
unchanged &= all(texts[keep] == ["wʌn", "tuː"] for keep in texts)
print("as described" if unchanged else "CHANGED")
sys.exit(0 if unchanged else 1)
PYTHON
"$folder/venv/bin/python" "$folder/check.py"
