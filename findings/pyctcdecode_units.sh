#!/usr/bin/env bash
# This compares pyctcdecode 0.5.0 with flashlight-text 0.0.7, the decoder of fairseq's wav2vec 2.0
# recipes.
#
# 1. The n-gram's weight multiplies natural logarithms in pyctcdecode (`alpha`) and logarithms to
#    base 10 in flashlight (`lm_weight`). If the n-gram's probabilities of two words differ by a
#    factor of ten, a weight of 2 outweighs 2.00 nats of the network in flashlight and 4.61 nats in
#    pyctcdecode. fairseq's weight of 2 is therefore 2 / ln 10 = 0.87 in pyctcdecode.
# 2. pyctcdecode reads from an ARPA file only the words with a back-off weight. The format allows a
#    word that begins no longer n-gram to have none; such words are scored as unknown words.
#
# The exit status is 1 if one of the two is no longer true. It needs a C++ compiler and CMake for
# kenlm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 kenlm==0.3.0 pygtrie==2.5.0 \
  flashlight-text==0.0.7
# pyctcdecode requires numpy < 2, but it works with numpy 2.
"$folder/venv/bin/pip" install --quiet --no-deps pyctcdecode==0.5.0
cat > "$folder/check.py" <<'PYTHON'
import math
import pathlib
import sys

import numpy as np
import pyctcdecode
from flashlight.lib.text.decoder import (
    CriterionType,
    KenLM,
    LexiconDecoder,
    LexiconDecoderOptions,
    SmearingMode,
    Trie,
)
from flashlight.lib.text.dictionary import Dictionary
from pyctcdecode.language_model import load_unigram_set_from_arpa

ARPA = """\\data\\
ngram 1=5
ngram 2=1

\\1-grams:
-2.0\t<unk>\t0
-99\t<s>\t0
-1.0\t</s>\t0
-0.5\tto\t0
-1.5\ttu\t0

\\2-grams:
-0.5\tto to

\\end\\
"""
model = pathlib.Path(sys.argv[1]) / "model.arpa"
model.write_text(ARPA)
TOKENS = ["", " ", "o", "t", "u"]
PATH = [0, 3, 0, 4, 0, 1, 0]  # "tu"; the fourth frame may also be "o"


def emissions(nats):
    """Log-probabilities, float32 [T, V], in which "u" is more likely than "o" by `nats`."""
    table = np.full((len(PATH), len(TOKENS)), -30.0, np.float32)
    table[np.arange(len(PATH)), PATH] = 0.0
    table[3, 4], table[3, 2] = -math.log1p(math.exp(-nats)), -math.log1p(math.exp(nats))
    return table


def by_pyctcdecode(weight):
    decoder = pyctcdecode.build_ctcdecoder(
        TOKENS, str(model), ["to", "tu"], alpha=weight, beta=-1.0
    )
    return lambda table: decoder.decode(table, token_min_logp=-40.0, beam_prune_logp=-100.0)


def by_flashlight(weight):
    words = Dictionary(["to", "tu", "<unk>"])
    language_model = KenLM(str(model), words)
    trie, start = Trie(len(TOKENS), 1), language_model.start(False)
    for word, spelling in (("to", [3, 2, 1]), ("tu", [3, 4, 1])):
        index = words.get_index(word)
        trie.insert(spelling, index, language_model.score(start, index)[1])
    trie.smear(SmearingMode.MAX)
    options = LexiconDecoderOptions(
        beam_size=100,
        beam_size_token=len(TOKENS),
        beam_threshold=1000.0,
        lm_weight=weight,
        word_score=-1.0,
        unk_score=-math.inf,
        sil_score=0.0,
        log_add=False,
        criterion_type=CriterionType.CTC,
    )
    unknown = words.get_index("<unk>")
    decoder = LexiconDecoder(options, trie, language_model, 1, 0, unknown, [], False)

    def decode(table):
        table = np.ascontiguousarray(table)
        best = decoder.decode(table.ctypes.data, *table.shape)[0]
        return " ".join(words.get_entry(word) for word in best.words if word >= 0)

    return decode


def outweighed(decode):
    """Largest advantage of "tu" in the network, in nats, at which the n-gram's "to" wins."""
    low, high = 0.0, 20.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if decode(emissions(middle)) == "to" else (low, middle)
    return low


measured = {
    "flashlight, weight 2": (outweighed(by_flashlight(2.0)), 2.0),
    "pyctcdecode, weight 2": (outweighed(by_pyctcdecode(2.0)), 2.0 * math.log(10.0)),
    "pyctcdecode, weight 2 / ln 10": (outweighed(by_pyctcdecode(2.0 / math.log(10.0))), 2.0),
}
unchanged = True
for name, (nats, expected) in measured.items():
    print(f"{name}: a factor of ten outweighs {nats:.2f} nats, expected {expected:.2f}")
    unchanged &= abs(nats - expected) < 0.01
model.write_text(ARPA.replace("\ttu\t0", "\ttu"))
known = load_unigram_set_from_arpa(str(model))
print(f"words that pyctcdecode reads, of <s>, to (with back-off weight) and tu (without): {known}")
unchanged &= "to" in known and "tu" not in known
print("as described" if unchanged else "CHANGED")
sys.exit(0 if unchanged else 1)
PYTHON
"$folder/venv/bin/python" "$folder/check.py" "$folder" 2> "$folder/errors" || {
  status=$?
  tail -n 5 "$folder/errors" >&2
  exit "$status"
}
