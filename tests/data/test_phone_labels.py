"""Phones of crops: frames whose centres lie in them, and mistakes in the columns."""

import dataclasses

import numpy as np
import pytest

from uniwav_jax.config import Config
from uniwav_jax.data import manifest, phone_labels
from uniwav_jax.errors import UserError
from uniwav_jax.text import phones

SYMBOLS = "sil DH_B AH0_E AY1_S sil"
ENDS = "0.100 0.150 0.155 0.500 1.000"


@pytest.fixture
def corpus(tmp_path):
    def make(symbols=SYMBOLS, ends=ENDS, columns="phones\tphone_ends"):
        path = tmp_path / "a.tsv"
        values = "\t".join((symbols, ends)[: columns.count("\t") + 1])
        path.write_text(f"path\tsamples\tsample_rate\t{columns}\nx.wav\t16000\t16000\t{values}\n")
        return manifest.load(str(path), cache=str(tmp_path))

    return make


def config_of(corpus):
    config = dataclasses.replace(
        Config(), data=dataclasses.replace(Config().data, manifest=corpus.source)
    )
    return phone_labels.with_phones(config, corpus.cache.rsplit("/", 1)[0])


def names(config, numbers):
    phone, *_ = phones.parts(np.asarray(numbers))
    return [config.tts.phones[number] for number in phone]


def test_a_whole_clip(corpus):
    corpus = corpus()
    config = config_of(corpus)
    assert config.tts.phones == ("AH", "AY", "DH", "sil")
    found = phone_labels.encode(corpus, 0, config, (0, 16000))
    assert names(config, found["phones"]) == ["sil", "DH", "AH", "AY", "sil"]
    # Frames have their centres at 10, 30, 50 ms; that at 150 ms belongs to the phone after it.
    assert found["ends"].tolist() == [5, 7, 8, 25, 50]


@pytest.mark.parametrize("start", [0, 100, 1600, 2400, 2443, 8000])
@pytest.mark.parametrize("samples", [320, 1700, 6000])
def test_crops_have_the_phone_at_each_frame_centre(corpus, start, samples):
    corpus = corpus()
    config = config_of(corpus)
    found = phone_labels.encode(corpus, 0, config, (start, samples))
    frames = -(-samples // 320)
    got = np.repeat(names(config, found["phones"]), np.diff(found["ends"], prepend=0))
    centres = (start + 320 * (np.arange(frames) + 0.5)) / 16000
    ends = np.array([float(end) for end in ENDS.split()])
    which = np.minimum(np.searchsorted(ends, centres, side="right"), len(ends) - 1)
    expected = [phones.split(SYMBOLS.split()[place])[0] for place in which]
    assert got.tolist() == expected


def test_mistakes_are_named(corpus):
    with pytest.raises(UserError, match="no columns phones and phone_ends"):
        config_of(corpus(columns="phones"))
    bad = corpus(ends="0.1 0.2")
    with pytest.raises(UserError, match=r"x\.wav has 5 phones and 2 phone_ends"):
        phone_labels.encode(bad, 0, config_of(bad), (0, 16000))
    bad = corpus(ends="0.1 0.2 x 0.3 0.4")
    with pytest.raises(UserError, match=r"x\.wav: phone_ends: could not convert"):
        phone_labels.encode(bad, 0, config_of(bad), (0, 16000))
    empty = corpus(symbols="", ends="")
    assert phone_labels.left_out(phone_labels.sizes(empty, Config()))["without phones"].all()
    with pytest.raises(UserError, match="no clip has phones"):
        config_of(empty)


def test_targets_are_phones_where_there_are_any(corpus, tmp_path):
    """Numbers from 1 on, of the crop; manifests may lack the columns, unless all of them do."""
    targets, spoken = phone_labels.TARGETS, corpus()
    plain = tmp_path / "plain.tsv"
    plain.write_text("path\tsamples\tsample_rate\nx.wav\t16000\t16000\n")
    data = dataclasses.replace(Config().data, manifest=f"{plain},{spoken.source}")
    config = targets.prepare(dataclasses.replace(Config(), data=data), str(tmp_path))
    assert config.tts.phones == ("AH", "AY", "DH", "sil")
    assert targets.encode(spoken, 0, config, (0, 16000))["phones"].tolist() == [4, 3, 1, 2, 4]
    assert targets.encode(spoken, 0, config, (3200, 3200))["phones"].tolist() == [2]
    assert targets.sizes(spoken, config)["phones"].tolist() == [5]
    silent = manifest.load(str(plain), cache=str(tmp_path))
    assert targets.sizes(silent, config)["phones"].tolist() == [0]
    nothing = targets.encode(silent, 0, config, (0, 16000))["phones"]
    assert nothing.dtype == np.int32 and not len(nothing)
    assert not len(targets.encode(corpus("", ""), 0, config, (0, 16000))["phones"])
    assert not targets.left_out({"phones": np.zeros(1)})
    alone = dataclasses.replace(Config(), data=dataclasses.replace(data, manifest=str(plain)))
    with pytest.raises(UserError, match=r"no clip has phones; add them with .uniwav data phones"):
        targets.prepare(alone, str(tmp_path))


def test_ends_move_with_the_speed(corpus):
    fast = dataclasses.replace(corpus(), speed=1.25)
    found = phone_labels.encode(fast, 0, config_of(fast), (0, 12800))
    assert found["ends"].tolist() == [4, 6, 6, 20, 40]  # 0.08, 0.12, 0.124, 0.4 and 0.8 s
