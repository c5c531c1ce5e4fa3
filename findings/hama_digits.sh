#!/usr/bin/env bash
# This shows what the English model of hama 1.7.0 returns for valid English texts.
#
# 1. Digits in an English sentence become Mandarin phones with tones, and the point of 3.5 is lost:
#    "I have 2 cats" has the syllable "t͡ɕ i̯ ä ⁵ ⁵" between English words. Numbers must be words
#    before.
# 2. A very long word comes back as the sounds that its letters have in other languages, separated by
#    spaces, and only the first 15 of them. No error or warning says so.
#
# The exit status is 1 if one of the two is no longer true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hama==1.7.0
cat > "$folder/check.py" <<'PYTHON'
import sys

from hama import G2PModel

model = G2PModel()
found = {
    text: model.predict(text).ipa
    for text in ("I have two cats", "I have 2 cats", "3.5", "supercalifragilisticexpialidocious")
}
for text, phones in found.items():
    print(f"{text}: {phones}")
unchanged = not set("⁵³¹") & set(found["I have two cats"])
unchanged &= all(set("⁵³¹") & set(found[text]) for text in ("I have 2 cats", "3.5"))
unchanged &= len(found["supercalifragilisticexpialidocious"].split()) == 15
print("as described" if unchanged else "CHANGED")
sys.exit(0 if unchanged else 1)
PYTHON
"$folder/venv/bin/python" "$folder/check.py"
