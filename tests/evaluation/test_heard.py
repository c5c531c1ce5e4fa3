"""Speech that is kept for a page: how much of it, and its notes."""

import re

import numpy as np

from uniwav_jax.evaluation.heard import Heard, notes
from uniwav_jax.evaluation.page import Sound


def test_only_the_first_clips_are_kept(tmp_path):
    heard = Heard(2)
    heard.begin(["x/a.wav", "x/b.wav", "x/c.wav"], ["one", "two", "three"])
    for title in ("real", "generated"):
        heard.add([Sound(title, np.zeros(1600, np.float32), 16000) for _ in range(3)])
    heard.write(str(tmp_path / "page.html"), title="Speech", table="| a |\n| - |\n| 7 |")
    text = (tmp_path / "page.html").read_text()
    assert text.count("<audio") == 4 and "<td>7</td>" in text
    assert re.findall(r'<h3 dir="auto">(.*?)</h3>', text) == ["real", "generated"] * 2
    assert "a.wav" in text and "three" not in text


def test_notes():
    score = {"errors": [1, 2, 3, 4], "transcript": "hi", "stoi": 0.51, "loudness_db": 2.04}
    assert notes(score) == {
        "word errors": "6 in 7 words",
        "understood": "hi",
        "STOI": "0.510",
        "loudness": "2.0 dB from the prompt",
    }
    assert notes({}) == {}
