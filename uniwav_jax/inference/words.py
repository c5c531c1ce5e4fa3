"""Recognised words, and how a language model's opinion of them is weighed."""

import dataclasses
import math

# Weight of an n-gram's natural log-probabilities and the score of each word. The values are
# fairseq's for an n-gram of words: lm-weight 2, word-score -1 (examples/wav2vec/README.md). Its
# decoder, flashlight's, adds 2 times kenlm's score, which is a logarithm to base 10, to the natural
# logarithms of the network. pyctcdecode turns kenlm's scores into natural logarithms first. Both
# add the score of a word as it is. findings/pyctcdecode_units.sh in the repository measures it.
LM_WEIGHT, WORD_SCORE = 2.0 / math.log(10.0), -1.0


@dataclasses.dataclass(frozen=True)
class Word:
    """A word and the times, in seconds, at which it starts and ends."""

    text: str
    start: float
    end: float
