"""Prompts with text: times with and without a recogniser, what does not fit, where they are cut."""

import numpy as np
import pytest
import soundfile

from tests.inference.test_speak import RATE, make_speaker
from uniwav_jax.config import default_config, from_dict
from uniwav_jax.errors import UserError
from uniwav_jax.inference import speak, voices
from uniwav_jax.inference.recognize import Recognizer
from uniwav_jax.text import alphabet

LEXICON = "da AA1\nni IY0\ndani AA1 IY0\nzoo ZH IY0\n"
TEXT = "dani da, ni dani"  # 6 phones
pytestmark = pytest.mark.usefixtures("fast_compilation")


class Fake(Recognizer):
    """A recogniser at 50 Hz that hears each symbol once, at the given frames."""

    def __init__(self, units, symbols, heard, frames=100):
        changes = {"units": units, "symbols": tuple(symbols), "lowercase": False}
        values = default_config("tiny")
        for name, value in changes.items():
            values.text[name] = value
        self.config = from_dict(values)
        self.vocabulary = alphabet.vocabulary(self.config.text)
        self.features = type("F", (), {"sample_rate": 8000, "frame_rate": 50})
        probabilities = np.full((frames, len(symbols) + 1), 1e-4, np.float32)
        probabilities[:, 0] = 1.0
        for frame, symbol in heard:
            probabilities[frame] = 1e-4
            probabilities[frame, symbols.index(symbol) + 1] = 1.0
        self.log_probs = np.log(probabilities)

    def run(self, files, *, few=False):
        for name, blocks in files:
            assert sum(map(len, blocks)) > 0
            yield name, self.log_probs


def spelt(text, first, step):
    """(frame, letter) of a text whose letters are `step` frames apart."""
    return [(first + step * n, letter) for n, letter in enumerate(text.replace(" ", "|"))]


@pytest.fixture(scope="module")
def speaker():
    return make_speaker()


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    path = tmp_path_factory.mktemp("lexicon") / "words.dict"
    path.write_text(LEXICON)
    return str(path)


@pytest.fixture(scope="module")
def speech(clip):
    """Half a second of silence, 1.2 s of speech, 0.3 s of silence."""
    quiet = np.zeros(8000, np.float32)
    return np.concatenate([quiet, clip[8000 : 8000 + 19200], quiet[:4800]])


def symbols(speaker, prompt):
    """The phones of a prompt, and their ends in seconds."""
    return [speaker.vocabulary.symbol(int(n)) for n in prompt.phones], prompt.ends / 50


def test_without_a_recogniser_the_text_is_spread_over_the_speech(speaker, speech, language):
    prompt = voices.load(speaker, speech, text=TEXT, language=language)
    found, ends = symbols(speaker, prompt)
    expected = "sil AA1_B IY0_E AA1_S sil IY0_S AA1_B IY0_E sil".split()
    assert found[:5] + found[-3:] == expected[:5] + expected[-3:]
    assert prompt.text == "dani da, ni dani" and len(found) == 9
    assert ends[-1] == len(prompt.x_TxC) / 50
    assert ends[0] == pytest.approx(0.2, abs=0.12), "the silence before is kept as it is"
    assert (np.diff(ends) > 0).all()
    plain = voices.load(speaker, speech)
    np.testing.assert_array_equal(prompt.x_TxC, plain.x_TxC)
    assert len(plain.phones) == 0 and plain.text == ""


def test_letters_give_the_times_of_words(speaker, speech, language):
    heard = [*spelt("DANI", 30, 2), (39, "|"), *spelt("DANI", 60, 2)]
    recognizer = Fake("letters", "|ADNI", heard)
    prompt = voices.load(
        speaker, speech, text="dani dani", language=language, recognizer=recognizer
    )
    found, ends = symbols(speaker, prompt)
    assert found == "sil AA1_B IY0_E sil AA1_B IY0_E sil".split()
    start = 0.5 - ends[0] + (30 - 25) / 50  # the prompt begins before 0.5 s
    assert 0 <= start < 0.5
    # Words are frames 30 to 37 and 60 to 67, a little wider; the pause between them is a silence.
    assert ends[3] - ends[0] == pytest.approx(30 / 50, abs=0.15)
    assert ends[3] - ends[2] > 0.2


def test_the_recogniser_writes_the_text(speaker, speech, language):
    heard = [*spelt("DANI", 30, 3), (45, "|"), *spelt("DANI", 50, 3)]
    recognizer = Fake("letters", "|ADNI", heard)
    prompt = voices.load(speaker, speech, language=language, recognizer=recognizer)
    assert prompt.text == "dani dani" and len(prompt.phones) >= 6
    with pytest.raises(UserError, match="hears no word in the prompt"):
        voices.load(speaker, speech, recognizer=Fake("letters", "|ADNI", []), language=language)


def test_phones_give_their_own_times(speaker, speech, language):
    recognizer = Fake("tokens", ["AA", "IY"], [(30, "AA"), (36, "IY"), (50, "AA"), (54, "IY")])
    text = "da ni dani"
    prompt = voices.load(speaker, speech, text=text, language=language, recognizer=recognizer)
    found, ends = symbols(speaker, prompt)
    assert found == "sil AA1_S IY0_S AA1_B IY0_E sil".split()
    assert ends[1] - ends[0] == pytest.approx(0.12, abs=0.06)
    plain = voices.load(speaker, speech, recognizer=recognizer)
    assert len(plain.phones) == 0, "phones without words are no text"


@pytest.mark.parametrize(
    ("text", "recognizer", "message"),
    [
        ("da " * 60, None, r"has 60 phones for 1\.\d s of speech; people say 3 to 25 a second"),
        ("da", None, "has 1 phones"),
        ("da da da da", Fake("letters", "|XY", []), "cannot spell 'da da da da'"),
        ("da da da da", Fake("tokens", ["X"], []), "has no phone AA1"),
        ("zoo zoo zoo", None, "the model has no phone ZH"),
        ("da " * 20, Fake("tokens", ["AA"], [], frames=30), "the text needs 39 frames"),
    ],
)
def test_texts_that_do_not_fit(speaker, speech, language, text, recognizer, message):
    with pytest.raises(UserError, match=message):
        voices.load(speaker, speech, text=text, language=language, recognizer=recognizer)


def test_audio_and_text_are_cut_after_a_word(speaker, clip, language):
    speech = np.tile(clip[8000:40000], 8)  # 16 s
    prompt = voices.load(speaker, speech, text="dani " * 40, language=language)
    assert 9 < len(prompt.x_TxC) / 50 <= speak.LONGEST
    words = prompt.text.split()
    found, _ = symbols(speaker, prompt)
    assert found[-1] == "IY0_E" and sum(symbol != "sil" for symbol in found) == 2 * len(words)
    assert len(words) == pytest.approx(25, abs=2)


def test_saved_voices(speaker, speech, language, tmp_path):
    prompt = voices.load(speaker, speech, text=TEXT, language=language)
    path = tmp_path / "folder" / "voice.npz"
    voices.save(path, speaker, prompt)
    again = voices.load(speaker, str(path))
    np.testing.assert_array_equal(again.x_TxC, prompt.x_TxC)
    assert again.phones.tolist() == prompt.phones.tolist() and again.text == prompt.text
    assert again.ends.tolist() == prompt.ends.tolist() and again.gain == prompt.gain
    with pytest.raises(UserError, match=r"voice\.npz: a prompt text needs speech"):
        voices.load(speaker, path, text="da")
    assert [file.name for file in path.parent.iterdir()] == ["voice.npz"]
    with pytest.raises(UserError, match=r"files of voices end in \.npz"):
        voices.save(tmp_path / "voice.wav", speaker, prompt)
    with pytest.raises(UserError, match="no voice to save"):
        voices.save(path, speaker, speaker.no_prompt())


def test_other_files_are_no_voices(speaker, speech, tmp_path, monkeypatch):
    path = tmp_path / "voice.npz"
    with pytest.raises(UserError, match="does not exist"):
        voices.load(speaker, path)
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match="is no voice of --save_voice, or is damaged"):
        voices.load(speaker, path)
    voices.save(path, speaker, voices.load(speaker, speech))
    monkeypatch.setitem(speaker.waveforms.__dict__, "digest", "of another")
    with pytest.raises(UserError, match=r"is a voice for features \w{16}, but those of this model"):
        voices.load(speaker, path)


def test_prompts_may_be_ready_arrays_or_files(speaker, tmp_path):
    given = speaker.no_prompt()
    assert voices.load(speaker, given) is given
    with pytest.raises(UserError, match=r"none\.wav"):
        voices.load(speaker, str(tmp_path / "none.wav"))
    with pytest.raises(UserError, match="a prompt text needs a prompt"):
        voices.load(speaker, None, text="da")
    with pytest.raises(UserError, match="this prompt is ready"):
        voices.load(speaker, given, text="da")
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(RATE), RATE)
    with pytest.raises(UserError, match=r"silent\.wav: the prompt is silent"):
        voices.load(speaker, silent, text="da")
