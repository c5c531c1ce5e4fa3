"""Alphabets of training texts, and the clips on which a recogniser is trained."""

import dataclasses

import numpy as np
import pytest

from uniwav_jax.config import default_config, from_dict
from uniwav_jax.data import pipeline
from uniwav_jax.data.plan import BatchPlan
from uniwav_jax.data.text_labels import TEXT, with_alphabet
from uniwav_jax.errors import UserError


def with_text(config, **values):
    return dataclasses.replace(config, text=dataclasses.replace(config.text, **values))


def configure(tmp_path, lines, **data):
    (tmp_path / "manifest.tsv").write_text(
        "path\tsamples\tsample_rate\ttext\n"
        + "".join(f"{name}.wav\t{samples}\t16000\t{text}\n" for name, samples, text in lines)
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
    found = with_alphabet(config, str(tmp_path / "cache"))
    assert found.text.symbols == ("a", "b", "c", "|", "é")
    given = with_text(config, symbols=("x",))
    assert with_alphabet(given, str(tmp_path / "cache")) is given
    silent = configure(tmp_path, [("a", 16000, "")])
    with pytest.raises(UserError, match="no clip has text"):
        with_alphabet(silent, str(tmp_path / "cache"))


def test_clips_are_whole_or_left_out(tmp_path):
    config = configure(tmp_path, CLIPS)
    config = with_text(config, symbols=tuple("abc|"))
    plan = BatchPlan(config, str(tmp_path / "cache"), TEXT)
    seen = {int(c) for g in range(8) for c in plan[g].clip}
    assert seen == {0, 1}
    # One clip of a second does not fill the four rows of a batch and is padded with the longer one.
    assert plan.rows == {32000: 2} and plan.label_lengths == {32000: {"tokens": 5}}
    summary = plan.summary()[config.data.manifest]
    for part in ("1 longer than 2 s", "1 without text", "1 with symbols outside"):
        assert part in summary
    rows = {bucket: np.arange(count) for bucket, count in plan.rows.items()}
    loader = pipeline.make_loader(config, plan, host_rows=rows, start=0)
    item = next(loader)
    loader.close()
    assert item["labels"]["tokens"].shape == (plan.rows[item["bucket"]], 5)


def test_no_usable_clip_is_an_error(tmp_path):
    config = configure(tmp_path, [("a", 16000, "xyz")])
    with pytest.raises(UserError, match=r"1 with symbols outside config\.text\.symbols"):
        BatchPlan(with_text(config, symbols=("a",)), str(tmp_path / "cache"), TEXT)


def test_an_alphabet_of_phones_has_no_words(tmp_path):
    path = tmp_path / "lexicon.dict"
    path.write_text("CAT  K AE1 T\nthe DH AH0\n")
    config = configure(tmp_path, [("a", 16000, "the cat"), ("b", 16000, "the dog")])
    config = with_text(config, units="tokens", lexicon=str(path))
    found = with_alphabet(config, str(tmp_path / "c"))
    assert found.text.symbols == ("AE", "AH", "DH", "K", "T")
    plan = BatchPlan(found, str(tmp_path / "cache"), TEXT)
    assert "1 with symbols outside" in plan.summary()[found.data.manifest]
