"""Alphabets, texts that do not fit them, and which clips a recogniser learns from."""

import dataclasses

import numpy as np
import pytest

from uniwav_jax.config import AsrConfig, default_config, from_dict
from uniwav_jax.data import pipeline
from uniwav_jax.data.plan import BatchPlan
from uniwav_jax.errors import UserError
from uniwav_jax.text import alphabet

LETTERS = AsrConfig(symbols=tuple("'abcdefghijklmnopqrstuvwxyz|"))
PHONES = AsrConfig(symbols=("AH", "K", "T"), units="tokens", lowercase=False)


def test_text_comes_back():
    vocabulary = alphabet.Vocabulary(LETTERS)
    tokens = vocabulary.encode("  It's  A\tcat ")
    assert vocabulary.decode(tokens) == "it's a cat" and len(vocabulary) == 29
    assert 0 not in tokens
    assert (
        alphabet.Vocabulary(PHONES).decode(alphabet.Vocabulary(PHONES).encode("K AH T")) == "K AH T"
    )


def test_unknown_symbols_are_named():
    with pytest.raises(alphabet.UnknownSymbolError, match="1 é"):
        alphabet.Vocabulary(LETTERS).encode("café 1")
    assert alphabet.Vocabulary(LETTERS).count("café") == -1
    assert alphabet.Vocabulary(LETTERS).count("cafe au") == 7


def test_one_character_has_one_form():
    """e and a combining accent are the letter é."""
    config = AsrConfig(symbols=("é",))
    assert alphabet.Vocabulary(config).encode("e\u0301E\u0301") == [1, 1]


def test_collapse():
    assert alphabet.collapse(np.array([0, 1, 1, 0, 1, 2, 2, 0])) == [1, 1, 2]
    assert alphabet.collapse(np.array([0, 0])) == []


def configure(tmp_path, lines, **data):
    (tmp_path / "manifest.tsv").write_text(
        "path\tsamples\tsample_rate\ttext\n"
        + "".join(f"{name}.wav\t{samples}\t16000\t{said}\n" for name, samples, said in lines)
    )
    config = default_config("tiny")
    config.task, config.asr.freeze_steps, config.evaluate.sample_every = "asr", 0, 0
    config.data.update(
        manifest=str(tmp_path / "manifest.tsv"), buckets=(1.0, 2.0), min_seconds=0.1, **data
    )
    config.data.batch_seconds, config.data.row_multiple = 4.0, 2
    return from_dict(config)


CLIPS = [
    ("a", 16000, "abc"),
    ("b", 20000, "Ab ca"),
    ("c", 33000, "abc"),  # longer than the longest bucket
    ("d", 16000, ""),
    ("e", 12000, "aé"),
]


def test_alphabet_from_the_training_text(tmp_path):
    config = configure(tmp_path, CLIPS)
    found = alphabet.with_alphabet(config, str(tmp_path / "cache"))
    assert found.asr.symbols == ("a", "b", "c", "|", "é")
    given = dataclasses.replace(config, asr=dataclasses.replace(config.asr, symbols=("x",)))
    assert alphabet.with_alphabet(given, str(tmp_path / "cache")) is given
    silent = configure(tmp_path, [("a", 16000, "")])
    with pytest.raises(UserError, match="no clip has text"):
        alphabet.with_alphabet(silent, str(tmp_path / "cache"))


def test_clips_are_whole_or_left_out(tmp_path):
    config = configure(tmp_path, CLIPS)
    asr = dataclasses.replace(config.asr, symbols=tuple("abc|"))
    config = dataclasses.replace(config, asr=asr)
    plan = BatchPlan(config, str(tmp_path / "cache"))
    seen = {int(c) for g in range(8) for c in plan[g].clip}
    assert seen == {0, 1}
    # One clip of a second does not fill the four rows of a batch and goes with the longer one.
    assert plan.rows == {32000: 2} and plan.tokens == {32000: 5}
    told = plan.summary()[config.data.manifest]
    for part in ("1 longer than 2 s", "1 without text", "1 with symbols outside"):
        assert part in told
    rows = {bucket: np.arange(count) for bucket, count in plan.rows.items()}
    loader = pipeline.make_loader(config, plan, host_rows=rows, start=0)
    item = next(loader)
    loader.close()
    assert item["tokens"].shape == (plan.rows[item["bucket"]], plan.tokens[item["bucket"]])


def test_nothing_left_is_an_error(tmp_path):
    config = configure(tmp_path, [("a", 16000, "xyz")])
    asr = dataclasses.replace(config.asr, symbols=("a",))
    with pytest.raises(UserError, match=r"1 with symbols outside config\.asr\.symbols"):
        BatchPlan(dataclasses.replace(config, asr=asr), str(tmp_path / "cache"))


def test_words_become_phones(tmp_path):
    path = tmp_path / "lexicon.dict"
    path.write_text("cat  K AE1 T\nthe  DH AH0\n")
    config = AsrConfig(units="tokens", lexicon=str(path))
    assert alphabet.units("The cat", config) == ["DH", "AH", "K", "AE", "T"]
    assert alphabet.units("the dog", config) == ["DH", "AH", "dog"]
    configured = configure(tmp_path, [("a", 16000, "the cat"), ("b", 16000, "the dog")])
    asr = dataclasses.replace(configured.asr, units="tokens", lexicon=str(path))
    found = alphabet.with_alphabet(dataclasses.replace(configured, asr=asr), str(tmp_path / "c"))
    assert found.asr.symbols == ("AE", "AH", "DH", "K", "T")
    plan = BatchPlan(found, str(tmp_path / "cache"))
    assert "1 with symbols outside" in plan.summary()[found.data.manifest]
