"""What the page computes, without gradio: which model serves what, and results of the example."""

import json

import numpy as np
import pytest
import soundfile

from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax import api
from uniwav_jax.checkpoint import weights
from uniwav_jax.codec.files import INSTALLED
from uniwav_jax.demo import results
from uniwav_jax.errors import UserError

SAMPLES = 63840  # of the example


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """Paths of the models that are loaded."""
    found, load = [], api.load
    monkeypatch.setattr(api, "load", lambda path: [found.append(path), load(path)][1])
    return found


def test_models_that_ship_serve_what_no_given_one_does(loaded, tmp_path, recogniser):
    shipped = results.Models()
    expected = {"transcribe": "", "speak": "mini-tts", "tokenize": "mini-tokenizer"}
    assert shipped.paths == {**expected, "encode": "mini"}
    assert shipped.sampling() == {"guidance": 1.5, "temperature": 0.7}
    pretrained = make(tmp_path, **SMALL)
    given = [recogniser, "mini-tts", pretrained]
    expected |= {"transcribe": recogniser, "encode": pretrained}
    assert results.Models(given).paths == expected
    assert results.Models([recogniser]).paths["encode"] == recogniser
    assert not loaded
    with pytest.raises(UserError, match=r"no model here has transcribe; fine-tune one .*asr_demo"):
        results.transcribe(shipped, results.EXAMPLE)


def test_given_models_that_are_none(tmp_path):
    (tmp_path / weights.DESCRIPTION).write_text(json.dumps({"schema": 1}))
    for path, message in {
        str(INSTALLED / "codec"): "none of the methods transcribe, speak",
        "codec": "none of the methods",
        "mini-none": "no model of that name ships",
        str(tmp_path): "damaged",
        str(tmp_path.parent): "has no checkpoint",
    }.items():
        with pytest.raises(UserError, match=message):
            results.Models([path])


def test_recordings_that_cannot_be_used(models, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(8000 * 61, np.int16), 8000)
    (tmp_path / "text.wav").write_text("text")
    for audio, message in {
        None: "no recording yet",
        str(tmp_path / "long.wav"): "60 s at most",
        str(tmp_path / "text.wav"): r"text\.wav",
    }.items():
        with pytest.raises(UserError, match=message):
            results.layers(models, audio)
    with pytest.raises(UserError, match="no text"):
        results.speak(models, " ", results.EXAMPLE)


def test_transcript(models):
    found = results.transcribe(models, results.EXAMPLE)
    assert found.text and all(0 <= word.start < word.end <= 4 for word in found.words)


def test_layers(models):
    wave, states = results.layers(models, results.EXAMPLE)
    assert wave.shape == (SAMPLES,) and states.shape == (3, 200, 32)


def test_speech_in_the_voice_of_the_example(models):
    said = results.speak(models, "Yes.", results.EXAMPLE, speed=2.0, guidance=0.0)
    assert said.rate == 16000 and said.wave.std() > 0.001
    assert [word.text for word in said.words] == ["yes"]


def test_tokens_and_speech_from_them(models, loaded):
    tokens = results.tokenize(models, results.EXAMPLE)
    assert tokens.codes.shape == (200, 2) and tokens.prompt is not None
    assert tokens.id == "84-121123-0001"
    recording, two, one, voice = results.sizes(tokens)
    assert recording[1:] == ("256,000 bit/s", f"{2 * SAMPLES:,} bytes")
    assert two[:2] == ("tokens, 2 books", "1,000 bit/s")
    assert one[:2] == ("tokens, 1 book", "500 bit/s")
    sizes = [int(row[2].split()[0].replace(",", "")) for row in (recording, two, one)]
    assert sizes[0] > 100 * sizes[1] > 100 * sizes[2] and voice[1] == ""
    made = results.resynthesize(models, tokens)
    assert [rate for rate, _ in made] == ["1000 bit/s", "500 bit/s"]
    assert all(wave.shape == (SAMPLES,) and wave.std() > 0.001 for _, wave in made)
    assert loaded in ([], ["mini-tokenizer"])  # once, and not when the page starts
