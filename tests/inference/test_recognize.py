"""Greedy words and their times; beam search with an n-gram model."""

import base64
import gzip
import math
import pathlib
import shutil
import subprocess
import zlib

import numpy as np
import pytest

from uniwav_jax import cli
from uniwav_jax.config import default_config, from_dict
from uniwav_jax.errors import UserError
from uniwav_jax.inference import recognize
from uniwav_jax.inference.recognize import Beam, Recognizer, Word

ARPA = """\\data\\
ngram 1=5
ngram 2=1

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.3
-1.0\t</s>
-1.0\tto\t-0.3
-3.0\ttu\t-0.3

\\2-grams:
-0.1\tto to

\\end\\
"""
# A model of "TO" and "TU" that kenlm's build_binary wrote; its words take the last 21 bytes, and
# the byte 100 says that they are there.
CAPITALS = (
    b"c-qU&O)OBz$yLZGDJihh*U!#KO-##7%}LQq&d=3P&QD2INXswEO)OC;OD!tS%+FIW<zhg9274f}pAks>2Lg}?BUF"
    b"Y7OdhaD7Gs6dj0~s%BwkRbxYx3+6f8G)Mse!$`BP3Y1KAs<*NbZY_W#9#riUx%`^Vbi2iZ&vc)<aXBN-Tu9fHse`"
    b"yn*MT_CqZ_?Tewk!9wB_xq;+)$X?`&C9l9uqg&&eIOCy&kz#I002G+J8S"
)


@pytest.fixture
def recognizer():
    """A recogniser with the symbols "o t u |" and without a network."""
    config = default_config("tiny")
    config.task, config.asr.freeze_steps, config.evaluate.sample_every = "asr", 0, 0
    config.text.symbols = tuple("otu|")
    return Recognizer(from_dict(config), {})


def log_probs(path, rivals):
    """Log probabilities of nearly 1 for `path`, except for {frame: (rival token, probability)}."""
    probabilities = np.full((len(path), 5), 1e-4, np.float32)
    for frame, token in enumerate(path):
        share = 0.0
        if frame in rivals:
            rival, share = rivals[frame]
            probabilities[frame, rival] = share
        probabilities[frame, token] = 1 - share
    return np.log(probabilities / probabilities.sum(-1, keepdims=True))


BLANK, LETTER_O, T, U, SPACE = range(5)
PATH = [
    BLANK,
    T,
    T,
    BLANK,
    U,
    BLANK,
    SPACE,
    T,
    BLANK,
    LETTER_O,
    BLANK,
]  # "tu to", unless the language model changes it


def test_greedy_words_have_times(recognizer):
    words = recognizer.greedy(log_probs(PATH, {}))
    assert words == [Word("tu", 1 / 50, 5 / 50), Word("to", 7 / 50, 10 / 50)]
    assert recognizer.greedy(log_probs([BLANK] * 4, {})) == []


def test_the_language_model_decides(recognizer, tmp_path):
    reason = "see tests/requirements-oracles.txt"
    pytest.importorskip("pyctcdecode", reason=reason)
    pytest.importorskip("kenlm", reason=reason)
    model = tmp_path / "lm.arpa"
    model.write_text(ARPA)
    found = log_probs(PATH, {4: (LETTER_O, 0.4)})
    without = Beam(recognizer, None, word_score=0.0).words(found)
    assert [word.text for word in without] == ["tu", "to"]
    words = Beam(recognizer, str(model), weight=1.0, word_score=0.0).words(found)
    assert [word.text for word in words] == ["to", "to"]
    assert words[0].end <= words[1].start
    with pytest.raises(UserError, match="does not exist"):
        Beam(recognizer, str(tmp_path / "none.arpa"))
    (tmp_path / "bad.arpa").write_text("no model")
    with pytest.raises(UserError, match=r"bad\.arpa is no n-gram model"):
        Beam(recognizer, str(tmp_path / "bad.arpa"))


def write_words(path, **log10):
    """An n-gram model of words that are independent of one another."""
    rows = {"<unk>": -2.0, "<s>": -99, "</s>": -1.0, **log10}
    words = "".join(f"{score}\t{word}\t0\n" for word, score in rows.items())
    pair = f"{log10['to']}\tto to\n"  # kenlm needs a bigram; this one does not change the scores
    path.write_text(
        f"\\data\\\nngram 1={len(rows)}\nngram 2=1\n\n\\1-grams:\n{words}\n"
        f"\\2-grams:\n{pair}\n\\end\\\n"
    )
    return str(path)


@pytest.mark.parametrize(("apart", "found"), [(1.9, "to"), (2.1, "tu")])
def test_default_weight_is_fairseqs_in_natural_logarithms(apart, found, recognizer, tmp_path):
    """A factor of ten between two words is worth 2 nats of the network, as in fairseq."""
    pytest.importorskip("pyctcdecode", reason="see tests/requirements-oracles.txt")
    model = write_words(tmp_path / "lm.arpa", to=-0.5, tu=-1.5)
    posteriors = log_probs([T, BLANK, U, BLANK], {2: (LETTER_O, 1 / (1 + math.exp(apart)))})
    assert [word.text for word in Beam(recognizer, model).words(posteriors)] == [found]


@pytest.mark.parametrize(("apart", "found"), [(0.9, ["toto"]), (1.1, ["to", "to"])])
def test_default_score_of_a_word_is_minus_one_nat(apart, found, recognizer, tmp_path):
    """Two words as probable as one by the language model need one more nat from the network."""
    pytest.importorskip("pyctcdecode", reason="see tests/requirements-oracles.txt")
    model = write_words(tmp_path / "lm.arpa", to=-0.5, toto=-1.0)
    path = [T, LETTER_O, SPACE, T, LETTER_O]
    posteriors = log_probs(path, {2: (BLANK, 1 / (1 + math.exp(apart)))})
    assert [word.text for word in Beam(recognizer, model).words(posteriors)] == found


def test_words_without_a_back_off_weight_are_known(recognizer, tmp_path):
    """pyctcdecode treats them as unknown, with a penalty of ten factors of ten."""
    pytest.importorskip("pyctcdecode", reason="see tests/requirements-oracles.txt")
    model = write_words(tmp_path / "lm.arpa", to=-1.5, tu=-0.5)
    file = tmp_path / "lm.arpa"
    file.write_text(file.read_text().replace("tu\t0", "tu"))
    posteriors = log_probs([T, BLANK, U, BLANK], {2: (LETTER_O, 0.5)})
    assert [word.text for word in Beam(recognizer, model).words(posteriors)] == ["tu"]


def test_real_kenlm_builds_a_model_that_the_beam_reads(tmp_path, recognizer):
    kenlm = pytest.importorskip("kenlm", reason="see tests/requirements-oracles.txt")
    if subprocess.run(["sh", "-c", "command -v lmplz"], capture_output=True).returncode:
        pytest.skip("no lmplz in PATH; uniwav data lm says how to build it")
    (tmp_path / "text.txt").write_text("to to\ntu to\n" * 20)
    out = tmp_path / "lm.bin"
    arguments = ["data", "lm", str(tmp_path / "text.txt"), "--order", "2", "--out"]
    cli.main([*arguments, str(out)])
    model = kenlm.Model(str(out))
    assert model.order == 2 and model.score("to to") > model.score("tu tu")
    # The search with the binary and its list of words equals that with the ARPA file.
    cli.main([*arguments, str(tmp_path / "lm.arpa")])
    found = log_probs(PATH, {4: (LETTER_O, 0.4)})
    scores = [
        Beam(recognizer, str(path)).decoder.decode_beams(found)[0][-1]
        for path in (out, tmp_path / "lm.arpa")
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_word_list_of_a_binary_model_is_passed_to_the_search(recognizer, tmp_path, monkeypatch):
    pyctcdecode = pytest.importorskip("pyctcdecode", reason="see tests/requirements-oracles.txt")
    given = []
    monkeypatch.setattr(pyctcdecode, "build_ctcdecoder", lambda *a, **k: given.append(a[2]))
    model = tmp_path / "lm.bin"
    model.write_text("")
    Beam(recognizer, str(model))
    (tmp_path / "lm.bin.words").write_text("to\ntu\n")
    Beam(recognizer, str(model))
    assert given == [None, ["to", "tu"]]


def test_a_model_means_the_same_by_any_name(recognizer, tmp_path):
    """pyctcdecode reads the words of lm.arpa only; they tell the search how words begin."""
    pytest.importorskip("pyctcdecode", reason="see tests/requirements-oracles.txt")
    model = pathlib.Path(write_words(tmp_path / "lm.arpa", to=-1.5, tu=-0.5))
    shutil.copy(model, tmp_path / "lm.ARPA")
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(model.read_bytes()))
    names = ("lm.arpa", "lm.ARPA", "lm.arpa.gz")
    assert len({tuple(recognize.known_words(tmp_path / name)) for name in names}) == 1
    posteriors = log_probs([T, BLANK, U, BLANK], {2: (LETTER_O, 0.5)})
    best = [
        Beam(recognizer, str(tmp_path / name)).decoder.decode_beams(posteriors)[0][-1]
        for name in names
    ]
    assert best[0] == best[1] == best[2]
    other = tmp_path / "other.arpa"
    other.write_text(model.read_text().replace("tu", "mu").replace("to", "mo"))
    with pytest.raises(UserError, match="cannot spell any of its words"):
        Beam(recognizer, str(other))


def test_a_model_in_upper_case_means_the_same(recognizer, tmp_path):
    """LibriSpeech's are in capitals; of words that differ in case the likelier one counts."""
    pytest.importorskip("pyctcdecode", reason="see tests/requirements-oracles.txt")
    posteriors = log_probs(PATH, {2: (LETTER_O, 0.5), 4: (LETTER_O, 0.4)})

    def search(name, **log10):
        model = write_words(tmp_path / name, **log10)
        return Beam(recognizer, model).decoder.decode_beams(posteriors)[0][-1]

    best = search("lower.arpa", to=-1.5, tu=-0.5)
    arpa = (tmp_path / "lower.arpa").read_text()
    (tmp_path / "upper.arpa").write_text(arpa.replace("to", "TO").replace("tu", "TU"))
    upper = Beam(recognizer, str(tmp_path / "upper.arpa")).decoder
    assert upper.decode_beams(posteriors)[0][-1] == best
    assert [w.text for w in Beam(recognizer, str(tmp_path / "upper.arpa")).words(posteriors)] == [
        w.text for w in Beam(recognizer, str(tmp_path / "lower.arpa")).words(posteriors)
    ]
    assert search("both.arpa", to=-1.5, Tu=-3.0, TU=-0.5, tU=-2.0) == best
    assert search("kept.arpa", to=-1.5, tu=-0.5, TU=-0.1) == best  # a word in small letters is it


def test_the_words_of_a_binary_in_capitals_are_found_in_it(recognizer, tmp_path, capsys):
    """kenlm stores the words in its binaries by default; a list beside the model may be missing."""
    pytest.importorskip("pyctcdecode", reason="see tests/requirements-oracles.txt")
    pytest.importorskip("kenlm", reason="see tests/requirements-oracles.txt")
    content = zlib.decompress(base64.b85decode(CAPITALS))
    model, bare = tmp_path / "lm.bin", tmp_path / "bare.bin"
    model.write_bytes(content)
    bare.write_bytes(content[:100] + b"\0" + content[101:-21])
    assert recognize.known_words(model) == ["<unk>", "<s>", "</s>", "TO", "TU"]
    assert recognize.known_words(bare) is None
    arpa = write_words(tmp_path / "lm.arpa", to=-1.5, tu=-0.5)
    posteriors = log_probs([T, BLANK, U, BLANK], {2: (LETTER_O, 0.6)})
    best = [
        Beam(recognizer, path).decoder.decode_beams(posteriors)[0] for path in (arpa, str(model))
    ]
    assert best[0][0] == best[1][0] == "tu"
    assert best[0][-1] == pytest.approx(best[1][-1], rel=1e-5)
    assert not capsys.readouterr().err
    Beam(recognizer, str(bare))
    assert "bare.bin does not contain its words" in capsys.readouterr().err
    (tmp_path / "bare.bin.words").write_text("TO\nTU\n")
    found = Beam(recognizer, str(bare)).decoder.decode_beams(posteriors)[0]
    assert found[-1] == pytest.approx(best[0][-1], rel=1e-5)
    assert not capsys.readouterr().err
