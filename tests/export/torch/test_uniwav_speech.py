"""Speech synthesis in PyTorch: the durations and the speech of JAX, and what it refuses."""

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.export.conftest import SPEECH, make
from tests.export.torch import alone
from uniwav_jax import api
from uniwav_jax.export import write
from uniwav_jax.export.torch import uniwav_model, uniwav_speech
from uniwav_jax.inference import speak
from uniwav_jax.models import flow

SYMBOLS = "sil G_B UH1_I D_E AH0_S sil D_B IY2_E sil".split()
SAID = [(0.0, 0.2, "sil"), (0.2, 0.6, "D_B"), (0.6, 1.3, "IY1_E"), (1.3, 2.0, "sil")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run and its export."""
    folder = tmp_path_factory.mktemp("speech")
    write.export(make(folder, codec="small", **SPEECH), str(folder / "export"))
    return folder


@pytest.fixture(scope="module")
def ours(folder):
    """The speaker of the export in JAX."""
    return api.load(folder / "export").speaker


@pytest.fixture(scope="module")
def model(folder):
    return uniwav_model.load(str(folder / "export"))


@pytest.fixture(scope="module")
def voice(ours, clip):
    return ours.prompt(clip[8000:40000].astype(np.float32), SAID)


def rhythm(voice):
    """Arguments for the phones of a voice."""
    frames = np.diff(voice.ends, prepend=0)
    return {"prompt_phones": voice.phones, "prompt_durations": frames}


def test_the_parameters_are_those_of_the_run(folder, ours):
    arrays = api.load(folder / "run").speaker._arrays
    jax.tree.map(np.testing.assert_array_equal, ours._arrays, arrays)


@pytest.mark.parametrize("with_phones", [True, False])
def test_speech_is_the_same_for_given_noise(ours, model, voice, with_phones):
    """With the prompt's phones and without: durations, and the waveform to 1e-3."""
    known, prompt = rhythm(voice), voice
    if not with_phones:
        known, empty = {}, np.zeros(0, np.int32)
        prompt = speak.Prompt(voice.x_TxC, empty, empty, voice.gain)
    line = speak.Line(SYMBOLS, prompt)
    settings = speak.Settings(seed=3, guidance=1.5, temperature=0.7, steps=3, speed=0.5)
    frames = ours.durations(line, settings)
    (expected,) = ours.speak([line], settings)
    first = len(prompt.x_TxC)
    noise = flow.noise(jax.random.key(3), (1, first + frames.sum(), prompt.x_TxC.shape[1]))
    with torch.inference_mode():
        found = model.predict_durations(SYMBOLS, *known.values(), speed=0.5)
        np.testing.assert_array_equal(found[0], frames)
        wave = model.speak(
            SYMBOLS,
            prompt_BxPxC=torch.tensor(prompt.x_TxC)[None],
            **known,
            speed=0.5,
            noise_BxTxC=torch.tensor(np.array(noise)),
            **{"guidance": 1.5, "temperature": 0.7, "steps": 3},
        )
    assert wave.shape == (1, frames.sum() * 320)
    wave = np.clip(wave[0].numpy() / prompt.gain, -1, 1)
    assert np.abs(wave - expected.wave).max() <= 1e-3 * np.abs(expected.wave).max()


def test_rows_of_a_batch_are_those_alone(model, voice):
    """Symbols, numbers and tensors, with one prompt for all, whatever the others' lengths."""
    numbers = model.numbers([SYMBOLS, SYMBOLS[:4]])
    padded = torch.nn.utils.rnn.pad_sequence(numbers, True, -1)
    prompt = torch.tensor(voice.x_TxC)[None]
    frames = model.predict_durations(padded)
    assert (frames[1, 4:] == -1).all() and frames[1, :4].min() >= 1
    total = len(voice.x_TxC) + int(frames[0].sum())
    noise = torch.randn(2, total, prompt.shape[-1], generator=torch.Generator().manual_seed(2))
    both = model.speak(padded, frames, prompt, **rhythm(voice), noise_BxTxC=noise)
    size = 320 * int(frames[1, :4].sum())
    short = noise[1:, : len(voice.x_TxC) + size // 320]
    alone = model.speak(SYMBOLS[:4], frames[1].tolist(), prompt, **rhythm(voice), noise_BxTxC=short)
    assert alone.shape == (1, size) and not both[1, size:].any()
    assert (both[1, :size] - alone[0]).abs().max() <= 1e-3 * alone.abs().max()
    assert torch.equal(model.speak(SYMBOLS, sway=-1.0), model.speak(numbers[0], sway=-1.0))


def test_durations_add_up(ours, model):
    line = speak.Line(SYMBOLS, ours.no_prompt())
    frames = ours.durations(line, speak.Settings(seconds=2.0))
    np.testing.assert_array_equal(model.predict_durations(SYMBOLS, total=100)[0], frames)
    random = np.random.default_rng(0)
    for count, total in ((1, 1), (5, 5), (7, 40), (9, 1000)):
        weights = random.uniform(0.1, 9, count).astype(np.float32)
        found = uniwav_speech.shared_out(torch.tensor(weights), total)
        np.testing.assert_array_equal(found, speak.shared_out(weights, total))


def test_what_is_refused(model, voice, monkeypatch):
    prompt, phones = torch.tensor(voice.x_TxC)[None], voice.phones
    for problem, call in {
        r"no phone 'ZZ1'; it has learned AH D G": lambda: model.speak(["sil", "ZZ1_S"]),
        "a row has no phones": lambda: model.speak([]),
        "between 0 and 119; got": lambda: model.speak([3, 120]),
        "given together": lambda: model.speak(SYMBOLS, None, prompt, prompt_phones=phones),
        "add up to 4 frames, but it has 100": lambda: model.speak(
            SYMBOLS, None, prompt, prompt_phones=phones, prompt_durations=[1, 1, 1, 1]
        ),
        r"1 frame for each phone: \[2\] in the rows": lambda: model.speak(["sil", "D_S"], [3, 0]),
        "speed must be between": lambda: model.speak(SYMBOLS, speed=9.0),
        "5 frames are too few for 9": lambda: model.predict_durations(SYMBOLS, total=5),
        r"the prompt is \[1 or 1, 100,": lambda: model.speak(SYMBOLS, None, prompt[..., 1:]),
        r"the noise is \[1 or 1, 9,": lambda: model.speak(SYMBOLS, [1] * 9, noise_BxTxC=prompt),
        "nothing to speak in '{}'": lambda: model.speak("{}"),
    }.items():
        with pytest.raises(ValueError, match=problem):
            call()
    with pytest.raises(TypeError, match="float"):
        model.speak(SYMBOLS, [1.5] * 9)
    parts = [part for part in model.c["parts"] if part != "durations"]
    monkeypatch.setitem(model.c, "parts", parts)
    with pytest.raises(uniwav_model.ExportError, match="no durations"):
        model.speak(SYMBOLS)
    assert model.speak(SYMBOLS, [2] * 9).shape == (1, 18 * 320)


USER = """
import torch
from transformers import AutoModel

model = AutoModel.from_pretrained("export", trust_remote_code=True, dtype=torch.bfloat16)
dtypes = [part.weight.dtype for part in (model.durations.out, model.encoder.project)]
assert dtypes == [torch.float32, torch.bfloat16]
model = AutoModel.from_pretrained("export", trust_remote_code=True)
with torch.inference_mode():
    wave = model.speak("{G UH1 D} {sil}", generator=torch.Generator().manual_seed(4))
    torch.save(wave, "wave.pt")
"""


def test_it_speaks_in_transformers(folder, model, tmp_path):
    """In a fresh folder without this package; also the lines of the model card."""
    pytest.importorskip("transformers", reason="see tests/requirements-oracles.txt")
    (tmp_path / "export").symlink_to(folder / "export")
    card = (folder / "export" / "README.md").read_text()
    assert "task tts" in card and "16000 Hz" in card and "durations, encoder" in card
    shown = card.split("```python\n")[1].split("```")[0].replace("FOLDER", "export")
    printed, _ = alone.run((shown, USER), tmp_path, blocked=alone.OURS)
    assert "torch.Size([3, 1, 50, 32])\ntorch.Size([1, " in printed
    wave = torch.load(tmp_path / "wave.pt")
    generator = torch.Generator().manual_seed(4)
    again = model.speak("sil G_B UH1_I D_E sil".split(), generator=generator)
    assert wave.shape == again.shape and (wave - again).abs().max() <= 1e-4 * again.abs().max()
