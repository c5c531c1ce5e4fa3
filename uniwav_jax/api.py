"""The Python interface: `uniwav_jax.load(PATH)` gives a `Model`.

    model = uniwav_jax.load("runs/asr")
    model.encode(wave, rate)        states of all layers, z, codes, times
    model.transcribe(wave, rate)    text and the times of its words
    model.align(wave, text, rate)   times of the words and letters of a known text
    model.speak(text, prompt)       speech in the voice of a prompt; speak_stream by sentences
    model.tokenize(wave, rate)      discrete tokens, and model.detokenize(tokens, prompt) back

A wave is the path of an audio file or an array (`inference.waves.blocks`), of any length and rate.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from uniwav_jax import abilities
from uniwav_jax import features as features_lib
from uniwav_jax.checkpoint import reader, weights
from uniwav_jax.codec import files
from uniwav_jax.codec.config import Structure
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.export import codec_folder, read
from uniwav_jax.export.torch import uniwav_files
from uniwav_jax.inference import (
    align,
    codec_files,
    recognize,
    representations,
    say,
    waves,
    windowed,
)
from uniwav_jax.inference.representations import Encoding
from uniwav_jax.inference.speak import Speaker
from uniwav_jax.inference.tokenizer import Detokenizer, Tokenizer
from uniwav_jax.inference.transcripts import Transcript
from uniwav_jax.inference.waveforms import Sampling
from uniwav_jax.inference.words import LM_WEIGHT, WORD_SCORE, Word
from uniwav_jax.tokens.value import Tokens
from uniwav_jax.types import PyTree

# Name of a model that ships with the package: its folder.
SHIPPED = {"codec": str(files.INSTALLED / "codec"), **weights.shipped()}


class Model:
    """A trained model, ready for use; `load` makes one.

    Args:
        path: where it was read; for error messages.
        config: of its training; None for a codec folder.
        params: parameters by part: "encoder", "heads", "condition", "ctc", ...; of a codec
            {"network", "codebooks"}.
        features: parameters of the surface features; {} for a codec.
        structure: of its codec, or of the codec that its features are latents of.
        step: updates of its training.
        checkpoint: step folder that it was read from; "" for other sources.

    Attributes:
        task: "pretrain", "asr", "tts", "tokenizer" or "codec".
        sample_rate: in Hz, the rate that waves are converted to.
        frame_rate: frames per second.
    """

    def __init__(
        self,
        path: str,
        config: Config | None,
        params: PyTree,
        features: PyTree,
        structure: Structure | None,
        *,
        step: int = 0,
        checkpoint: str = "",
    ) -> None:
        self.path, self.config, self.step, self.checkpoint = path, config, step, checkpoint
        self.task = config.task if config else "codec"
        self._arrays, self._structure = {"params": params, "features": features}, structure
        self._methods = abilities.of_task(self.task) | (abilities.CODEC if structure else set())
        self._is_codec = not features
        if self._is_codec:
            self.sample_rate = structure.sample_rate
            self.frame_rate = structure.sample_rate / structure.hop
            return
        self._arrays = jax.device_put(self._arrays)  # shared by all that is made of the model
        described = files.describe(structure) if structure else None
        self._features = features_lib.build(config.features, described)
        self.sample_rate = self._features.sample_rate
        self.frame_rate = self._features.frame_rate
        self._extractors: dict[Any, representations.Extractor] = {}
        self._beams: dict[Any, recognize.Beam] = {}

    def __repr__(self) -> str:
        return f"<uniwav_jax model of task {self.task}, {self.step} updates, from {self.path}>"

    def encode(self, wave: Any, rate: int | None = None) -> Encoding:
        """States of every layer, z, codes and frame times of a wave; see `Encoding`.

        All states of a long wave are large: `features` gives the layers that are wanted.
        """
        self.require("encode")
        found = self._run(self._encoder, wave, rate)
        states_TxLxD, codes_TxK = found["states"], found.get("codes")
        return Encoding(
            states=states_TxLxD.swapaxes(0, 1),
            z=found.get("z"),
            codes=None if codes_TxK is None else codes_TxK.T,
            times=self._encoder.times(len(states_TxLxD)),
        )

    def features(
        self, wave: Any, rate: int | None = None, *, layers: Any, window: float | None = None
    ) -> np.ndarray:
        """One choice of layers, as `uniwav features` writes them.

        Args:
            wave: path or array; see `inference.waves.blocks`.
            rate: sample rate of an array, in Hz; None: the model's.
            layers: a number or several, from 0 (the input of the first layer) to L; or "sum",
                "codes" or "teacher_codes", see `inference.representations.Extractor`.
            window: seconds that are computed at once; None: the training's longest clips.

        Returns:
            float32 [T, n, D] of n layers, [T, D] of their sum, or codes int32 [T, K].
        """
        return self._run(self.extractor(layers, window=window), wave, rate)

    def transcribe(
        self, wave: Any, rate: int | None = None, *, lm: str | None = None, **options: Any
    ) -> Transcript:
        """The text of a wave and the times of its words.

        Args:
            wave: path or array; see `inference.waves.blocks`.
            rate: sample rate of an array, in Hz; None: the model's.
            lm: n-gram model of words, ARPA or kenlm's binary; None: without.
            options: of `decoder`.
        """
        words = self.decoder(lm, **options)(self._run(self.recognizer, wave, rate))
        return Transcript(" ".join(word.text for word in words), words)

    def align(self, wave: Any, text: str, rate: int | None = None) -> align.Alignment:
        """Times of the words and of the letters or phones of a known text in its wave."""
        log_probs_TxV = self._run(self.recognizer, wave, rate)
        return align.align(self.recognizer, log_probs_TxV, text)

    def encode_latents(
        self, wave: Any, rate: int | None = None, *, codebooks: int = 0
    ) -> np.ndarray:
        """A codec's latents float32 [T, C], or codes int16 [codebooks, T], of a wave."""
        blocks = waves.blocks(wave, rate, sample_rate=self.sample_rate)
        return self._codec("encode_latents").encode(blocks, stages=codebooks)

    def decode_latents(self, latents: Any) -> np.ndarray:
        """The waveform, float32 [T * hop] in [-1, 1], of latents [T, C] or integer codes [Q, T]."""
        return np.concatenate(list(self._codec("decode_latents").decode(np.asarray(latents))))

    def tokenize(
        self, wave: Any, rate: int | None = None, *, voice: bool = False, books: int | None = None
    ) -> Tokens:
        """Discrete speech tokens of a wave.

        Args:
            wave: path or array; see `inference.waves.blocks`.
            rate: sample rate of an array, in Hz; None: the model's.
            voice: whether the tokens carry 3 s of latents, from which `detokenize` takes the voice.
            books: the first ones only; None: all.
        """
        blocks = list(waves.blocks(wave, rate, sample_rate=self.sample_rate))
        ((_, tokens),) = self.tokenizer.tokens([(None, blocks)], few=True)
        if isinstance(tokens, UserError):
            raise tokens
        tokens = tokens if books is None else tokens.first(books)
        if not voice:
            return tokens
        prompt = self.detokenizer.prompt(np.concatenate(blocks))
        return dataclasses.replace(tokens, prompt=prompt)

    def detokenize(
        self, tokens: Tokens, prompt: Any = None, rate: int | None = None, **options: Any
    ) -> np.ndarray:
        """Speech of tokens: float32 [samples] in [-1, 1].

        Args:
            tokens: of this model.
            prompt: some seconds of speech of the voice to speak in, a path or array; None: that of
                the tokens, or one from noise.
            rate: sample rate of an array, in Hz; None: the model's.
            options: of `inference.waveforms.Sampling`: seed, guidance, temperature, steps.
        """
        self.require("detokenize")
        tokens.check_model(self.tokenizer.digest, name=tokens.id or "the argument")
        if prompt is not None:
            blocks = waves.blocks(prompt, rate, sample_rate=self.sample_rate)
            prompt = self.detokenizer.prompt(np.concatenate(list(blocks)))
        source = self.detokenizer.source(tokens, prompt)
        return self.detokenizer.speak([source], Sampling(**options))[0]

    def resynthesize(
        self, wave: Any, rate: int | None = None, *, books: int | None = None, **options: Any
    ) -> np.ndarray:
        """A wave through tokens and back, in its own voice: float32 [samples] in [-1, 1]."""
        return self.detokenize(self.tokenize(wave, rate, voice=True, books=books), **options)

    def convert(
        self, wave: Any, prompt: Any, rate: int | None = None, **options: Any
    ) -> np.ndarray:
        """What a wave says, in the voice of a prompt: the wave's tokens are spoken with it.

        Both waves have the sample rate `rate` if they are arrays.
        """
        return self.detokenize(self.tokenize(wave, rate), prompt, rate, **options)

    def speak(self, text: str, prompt: Any = None, rate: int | None = None, **options: Any) -> Any:
        """Speech of a text in the voice of a prompt: float32 [samples] in [-1, 1].

        Args:
            text: English; `inference.say` lists what is done with it.
            prompt: some seconds of speech, a path or array; None: a voice from noise.
            rate: sample rate of an array, in Hz; None: the model's.
            options: of `inference.say.speak` (prompt_text, ...) and of `inference.speak.Settings`
                (seed, guidance, temperature, steps, speed, seconds, durations).
        """
        return say.speak(self.speaker, text, prompt, rate, **options).wave

    def speak_stream(self, text: str, prompt: Any = None, **options: Any) -> Iterator[np.ndarray]:
        """The waves of `speak`'s sentences, to be played one after the other, as they are ready."""
        return say.waves(self.speaker, text, prompt, **options)

    def extractor(self, layers: Any, *, window: float | None = None) -> representations.Extractor:
        """The model for one choice of layers, whose `run` takes many files."""
        self.require("features")
        key = (representations.choice(layers), window)
        if key not in self._extractors:
            arrays = self._arrays
            if key[0] == representations.TEACHER_CODES:
                arrays = {**arrays, "params": arrays["params"] | self._teacher()}
            options = {"features": self._features, "window": window}
            self._extractors[key] = representations.Extractor(
                self.config, arrays, key[0], **options
            )
        return self._extractors[key]

    @functools.cached_property
    def recognizer(self) -> recognize.Recognizer:
        """The recogniser, whose `run` takes many files."""
        self.require("transcribe")
        return recognize.Recognizer(self.config, self._arrays, features=self._features)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Speech to tokens; its `tokens` takes many files."""
        self.require("tokenize")
        return Tokenizer(self.config, self._arrays, features=self._features)

    @functools.cached_property
    def detokenizer(self) -> Detokenizer:
        """Tokens to speech; its `speak` takes many clips."""
        self.require("detokenize")
        return Detokenizer(self.config, self._arrays, self._features)

    @functools.cached_property
    def speaker(self) -> Speaker:
        """The speech synthesiser, whose `speak` takes many lines."""
        self.require("speak")
        return Speaker(self.config, self._arrays, self._features)

    def decoder(
        self,
        lm: str | None = None,
        *,
        beam: int = 0,
        lm_weight: float = LM_WEIGHT,
        word_score: float = WORD_SCORE,
    ) -> Callable[[np.ndarray], list[Word]]:
        """The function from log-probabilities, a result of `recognizer.run`, to words.

        Args:
            lm: n-gram model of words, ARPA or kenlm's binary; None: without.
            beam: hypotheses that are kept; 0: greedy without `lm`, else 100.
            lm_weight: of the n-gram's natural log-probabilities.
            word_score: added for each word, in natural logarithms.
        """
        if not (lm or beam):
            return self.recognizer.greedy
        options = {"weight": lm_weight, "word_score": word_score, "width": beam or 100}
        key = (lm, *options.values())
        if key not in self._beams:
            self._beams[key] = recognize.Beam(self.recognizer, lm, **options)
        return self._beams[key].words

    @functools.cached_property
    def _encoder(self) -> representations.Encoder:
        return representations.Encoder(self.config, self._arrays, features=self._features)

    @functools.cached_property
    def _file_codec(self) -> codec_files.FileCodec:
        if self._is_codec:
            return codec_files.FileCodec(self._structure, self._arrays["params"], name=self.path)
        structure = self._structure  # latents are continuous features: codebooks are not kept
        if structure.codebooks:
            structure = dataclasses.replace(structure, codebooks=0)
        network = {"network": self._arrays["features"]["network"]}
        return codec_files.FileCodec(structure, network, name=self.path)

    def _codec(self, method: str) -> codec_files.FileCodec:
        self.require(method)
        return self._file_codec

    def _teacher(self) -> PyTree:
        """The teacher and its codebooks, which are only read where they are wanted."""
        if not self.checkpoint:  # an export of the teacher has it in the encoder's place
            return {"teacher": self._arrays["params"]["encoder"]}
        # The features are read too because a read of nothing fails.
        places = ("state/teacher", "state/codebooks", "frozen/features")
        return reader.open(self.checkpoint).arrays(*places).get("state", {})

    def _run(self, model: windowed.WindowedModel, wave: Any, rate: int | None) -> PyTree:
        blocks = waves.blocks(wave, rate, sample_rate=self.sample_rate)
        ((_, found),) = model.run([(None, blocks)], few=True)
        if isinstance(found, UserError):
            raise found
        return found

    def require(self, method: str) -> None:
        """Raise a `UserError` that says how to get a model with `method`, if this has none."""
        if method not in self._methods:
            what = f"a checkpoint of task {self.task}" if self.config else "a codec"
            raise UserError(
                f"{self.path} is {what}, which has no {method}; {abilities.TRAINED_BY[method]}"
            )


def load(path: str | os.PathLike[str]) -> Model:
    """A model from what training, `uniwav export` or `uniwav import` wrote.

    Args:
        path: workdir of a run, its checkpoints folder or one of its step folders (local or gs://);
            a folder of `uniwav export`, which is read without PyTorch, or of `--weights`; a codec
            folder; or the name of a model that ships with the package.

    Raises:
        UserError: there is no model, or it is damaged.
    """
    path = os.fspath(path)
    folder = pathlib.Path(SHIPPED.get(path, path))
    if (folder / uniwav_files.SUMS).is_file():
        return _of_export(str(folder))
    if weights.is_folder(str(folder)):
        return _of_weights(path, str(folder))
    if (folder / files.DESCRIPTION).is_file():
        structure, params = files.load(str(folder))
        return Model(path, None, params, {}, structure)
    if "://" not in path and not folder.exists():
        raise UserError(
            f"{path} is no folder, and no model of that name ships with this version (it has"
            f" {', '.join(SHIPPED)}); train one: uniwav train --config=demo"
            " --workdir=runs/demo --config.data.manifest=..."
        )
    return _of_checkpoint(path)


def _of_checkpoint(path: str) -> Model:
    checkpoint = reader.open(path)
    config, step, folder = checkpoint.config, checkpoint.step, str(checkpoint.folder)
    if "generator" in checkpoint.task.parts:
        structure, params = codec_folder.read(checkpoint)
        return Model(path, config, params, {}, structure, step=step, checkpoint=folder)
    arrays = checkpoint.arrays("params", "ema", "frozen/features", "state/books")
    params = {**arrays["params"], **arrays["ema"]}  # the average is what samples and is exported
    params |= arrays.get("state", {})
    if not params.keys() & {"phones", "tokens"}:
        params.pop("decoder", None)
    features = checkpoint.features()
    structure = features.config if config.features.kind == "codec" else None
    frozen = arrays["frozen"]["features"]
    return Model(path, config, params, frozen, structure, step=step, checkpoint=folder)


def _of_weights(path: str, folder: str) -> Model:
    w = weights.load(folder)
    return Model(path, w.config, w.params, w.features, w.structure, step=w.step)


def _of_export(path: str) -> Model:
    export = read.load(path)
    model = dataclasses.replace(export.config.model, compute_dtype="float32")  # as in PyTorch
    config = dataclasses.replace(export.config, model=model)
    speaks = export.params.keys() & {"books", "phones"}
    params = {k: v for k, v in export.params.items() if speaks or k != "decoder"}
    features = params.pop("features")
    return Model(path, config, params, features, export.structure, step=export.step)
