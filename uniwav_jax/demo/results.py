"""What the page of `uniwav demo` computes: plain functions of models, a recording and settings."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from uniwav_jax import abilities, api
from uniwav_jax.checkpoint import reader, weights
from uniwav_jax.codec import files
from uniwav_jax.errors import UserError
from uniwav_jax.export.torch import uniwav_files
from uniwav_jax.inference import say, waves
from uniwav_jax.inference.transcripts import Transcript
from uniwav_jax.tokens import uwt
from uniwav_jax.tokens.value import Tokens

# The method of `api.Model` behind each section, and the model that ships for it.
SECTIONS = {
    "transcribe": "",
    "speak": "mini-tts",
    "tokenize": "mini-tokenizer",
    "encode": "mini",
}
EXAMPLE = str(next(weights.INSTALLED.glob("example/*.flac")))  # that ships with the package
LONGEST = 60.0  # seconds of a recording; what the page computes of longer ones takes minutes


class Models:
    """The models of the page; each is loaded when it is first needed.

    Args:
        given: models as `api.load` takes them. A section takes the one that has its method and the
            fewest others, so that a pretrained model comes first for the layers; without one, it
            takes the model that ships.
        steps: of the samplers; None: those of the models' training.

    Attributes:
        paths: {method: path or name of its model, "" without one}.
        steps: as given.

    Raises:
        UserError: no section can use one of the given models, or one is missing or damaged.
    """

    def __init__(self, given: Sequence[str] = (), steps: int | None = None) -> None:
        methods = {path: abilities.of_task(describe(path)["task"]) for path in given}
        for path, found in methods.items():
            if not found & SECTIONS.keys():
                raise UserError(f"{path} has none of the methods {', '.join(SECTIONS)}")
        self.paths, self.steps = {}, steps
        for method, shipped in SECTIONS.items():
            able = [path for path in given if method in methods[path]]
            shipped = shipped if shipped in api.SHIPPED else ""
            self.paths[method] = min(able, key=lambda path: len(methods[path]), default=shipped)
        self._loaded: dict[str, api.Model] = {}

    def load(self, method: str) -> api.Model:
        """The model with a method.

        Raises:
            UserError: there is none; says how to get one. Or it cannot be read.
        """
        path = self.paths[method]
        if not path:
            raise UserError(f"no model here has {method}; {abilities.TRAINED_BY[method]}")
        if path not in self._loaded:
            self._loaded[path] = api.load(path)
        return self._loaded[path]

    def sampling(self) -> dict[str, float]:
        """{"guidance", "temperature"} of the training of the model that speaks."""
        flow = describe(self.paths["speak"])["flow"] if self.paths["speak"] else {}
        return {name: float(flow.get(name, 1.0)) for name in ("guidance", "temperature")}


def describe(path: str) -> dict[str, Any]:
    """The configuration of a model's training, of which "task" is there in any case.

    The weights are not read.

    Raises:
        UserError: as `api.load`.
    """
    folder = pathlib.Path(api.SHIPPED.get(path, path))
    try:
        if (folder / uniwav_files.SUMS).is_file():
            return uniwav_files.read_config(folder)
        if (folder / weights.DESCRIPTION).is_file():
            return json.loads((folder / weights.DESCRIPTION).read_text(encoding="utf-8"))["config"]
        if (folder / files.DESCRIPTION).is_file():
            return {"task": "codec"}
        if "://" in path or folder.is_dir():
            return dataclasses.asdict(reader.open(path).config)
    except (ValueError, KeyError):
        pass
    return {"task": api.load(path).task}  # raises an error that says what is wrong


def read(audio: str | None, sample_rate: int) -> np.ndarray:
    """A recording as float32 [S] in [-1, 1].

    Args:
        audio: path of the file; None without a recording.
        sample_rate: of the result, in Hz.

    Raises:
        UserError: there is no recording, it is longer than `LONGEST`, or it cannot be read.
    """
    if not audio:
        raise UserError("there is no recording yet: record or upload speech, or take the example")
    parts, samples = [], 0
    for block in waves.blocks(audio, None, sample_rate=sample_rate):
        parts.append(block)
        samples += len(block)
        if samples > LONGEST * sample_rate:
            raise UserError(
                f"this page takes recordings of {LONGEST:g} s at most; the other commands of"
                " uniwav and its Python interface take longer ones"
            )
    return np.concatenate(parts)


def transcribe(models: Models, audio: str | None) -> Transcript:
    """The text of a recording and the times of its words, if there is a recogniser."""
    model = models.load("transcribe")
    return model.transcribe(read(audio, model.sample_rate))


def speak(models: Models, text: str, audio: str | None, **options: Any) -> say.Said:
    """A text in the voice of a recording; `options` are of `inference.speak.Settings`.

    Raises:
        UserError: there is no text or no recording, or a setting is out of its range.
    """
    if not text.strip():
        raise UserError("there is no text to speak")
    model = models.load("speak")
    prompt = read(audio, model.sample_rate)
    return say.speak(model.speaker, text, prompt, steps=models.steps, **options)


def tokenize(models: Models, audio: str | None) -> Tokens:
    """The tokens of a recording, which carry its voice."""
    model = models.load("tokenize")
    tokens = model.tokenize(read(audio, model.sample_rate), voice=True)
    return dataclasses.replace(tokens, id=pathlib.Path(audio or "").stem)


def sizes(tokens: Tokens) -> list[tuple[str, str, str]]:
    """(what, bit rate, size) of the recording in 16 bits, and of its tokens with fewer books."""
    recording = ("recording, 16-bit samples", 16 * tokens.sample_rate, 2 * tokens.samples)
    rows = [recording]
    for books in range(tokens.books, 0, -1):
        part = dataclasses.replace(tokens.first(books), prompt=None)
        what = f"tokens, {books} book{'s' * (books > 1)}"
        rows.append((what, part.bits_per_second, len(uwt.encode(part))))
    voice = tokens.prompt_bits // 8
    rows = [(what, f"{round(rate):,} bit/s", f"{size:,} bytes") for what, rate, size in rows]
    return [*rows, ("voice for the resynthesis, once", "", f"{voice:,} bytes")]


def resynthesize(models: Models, tokens: Tokens) -> list[tuple[str, np.ndarray]]:
    """(bit rate, float32 [S] in [-1, 1]) of the speech of all books, and then of the first one."""
    model = models.load("tokenize")
    parts = [tokens.first(books) for books in sorted({tokens.books, 1}, reverse=True)]
    return [
        (f"{round(part.bits_per_second)} bit/s", model.detokenize(part, steps=models.steps))
        for part in parts
    ]


def layers(models: Models, audio: str | None) -> tuple[np.ndarray, np.ndarray]:
    """A recording float32 [S], and the states of the encoder's layers float32 [L + 1, T, D]."""
    model = models.load("encode")
    wave = read(audio, model.sample_rate)
    return wave, model.encode(wave).states
