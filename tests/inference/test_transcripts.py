"""The formats of transcripts."""

import json

from uniwav_jax.inference import transcripts
from uniwav_jax.inference.words import Word


def test_formats():
    words = [Word("a", 0.02, 0.5), Word("b", 0.6, 1.0), Word("c", 3661.5, 3662.25)]
    assert transcripts.plain(words) == "a b c\n"
    assert transcripts.tsv(words).splitlines()[1] == "0.02\t0.50\ta"
    assert json.loads(transcripts.as_json(words))["words"][2]["end"] == 3662.25
    assert transcripts.srt(words) == (
        "1\n00:00:00,020 --> 00:00:01,000\na b\n\n2\n01:01:01,500 --> 01:01:02,250\nc\n\n"
    )
    long = [Word("word" * 5, i, i + 0.9) for i in range(10)]
    assert max(len(line) for line in transcripts.srt(long).splitlines()) <= transcripts.WIDTH
