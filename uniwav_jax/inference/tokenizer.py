"""Speech to tokens, and tokens to speech.

    speech -> encoder -> books -> tokens                  in windows, see inference/windowed.py
    prompt (visible) + tokens -> decoder -> latents -> waveform

Long speech is generated in windows, too: each continues the last second of the one before it, which
is visible to the decoder, and every window has the prompt in front. A clip's speech does not depend
on the others that are generated with it, up to rounding: the noise of a frame depends on the seed
and on its place only.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.inference import representations
from uniwav_jax.inference.waveforms import FRAME_STEP, Sampling, Waveforms, digest, with_steps
from uniwav_jax.models import flow, masking, speech_tokens, uniwav
from uniwav_jax.tokens.value import Tokens
from uniwav_jax.types import PyTree

PROMPT = 3.0  # seconds of a prompt that are used, at most
BEFORE, AFTER = 1.0, 0.5  # seconds of a window that are visible, and that the next one replaces
NEW = 4.0  # seconds of a window that are kept, at least
AT_ONCE = 16  # clips that are generated together
CODING = ("encoder", "condition", "tokens", "books")  # parts on which the codes depend


class Tokenizer(representations.Encoder):
    """Speech to codes; `run` gives {"codes" int32 [T, K], "z" float32 [T, E]} for each file.

    Args:
        config: configuration of a run of task tokenizer.
        arrays: {"params": {"encoder", "condition", "tokens", "books"}, "features"}.
        options: of `windowed.WindowedModel`.
    """

    def compute(self, params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array) -> PyTree:
        """See the class; each array has the axis B in front."""
        encoded = self.encode(params, x_BxTxC, frames_B)
        h_BxTxD = speech_tokens.state(encoded, self.config.tokenizer.layer)
        z_BxTxE = uniwav.condition(params["condition"], encoded, None)
        codes_KxBxT, _ = speech_tokens.encode(params["tokens"], params["books"], h_BxTxD, z_BxTxE)
        return {"codes": jnp.moveaxis(codes_KxBxT, 0, -1), "z": z_BxTxE.astype(jnp.float32)}

    @functools.cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of everything on which the codes depend."""
        parts = {**self._arrays["params"], "features": self._arrays["features"]}
        return digest_of(self.config, parts)

    def tokens(
        self, files: Iterable[tuple[Any, Iterable[np.ndarray]]], *, few: bool = False
    ) -> Iterator[tuple[Any, Tokens | UserError]]:
        """`Tokens` of each file, with arguments and errors as in `run`."""
        names: list[Any] = []
        samples: dict[int, int] = {}

        def counted(number: int, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            for block in blocks:
                samples[number] = samples.get(number, 0) + len(block)
                yield block

        def numbered() -> Iterator[tuple[int, Iterator[np.ndarray]]]:
            for number, (name, blocks) in enumerate(files):
                names.append(name)
                yield number, counted(number, blocks)

        for number, found in self.run(numbered(), few=few):
            if not isinstance(found, UserError):
                found = self.described(found["codes"], samples.pop(number))
            yield names[number], found

    def described(self, codes_TxK: np.ndarray, samples: int) -> Tokens:
        """Codes that `run` found in `samples` samples of audio, as `Tokens`."""
        sizes = (self.config.tokenizer.codewords,) * codes_TxK.shape[1]
        rates = {"sample_rate": self.features.sample_rate, "hop": self.features.hop}
        return Tokens(codes_TxK, sizes, samples=samples, model=self.digest, **rates)


def digest_of(config: Config, params: PyTree) -> str:
    """The digest of a model's tokens, 16 hexadecimal digits.

    Args:
        config: the configuration.
        params: parameters by part, with "books" and "features".
    """
    parts = {name: params[name] for name in (*CODING, "features")}
    return digest(str(config.tokenizer.layer), parts)


@dataclasses.dataclass(frozen=True)
class Source:
    """What is to be spoken.

    Attributes:
        codes: int [T, K]; None for `z`.
        samples: of the waveform.
        prompt: normalised features whose voice is continued, [P, C]; None without.
        damaged: bool [T], True where the codes are not known: these frames become silence.
        z: float32 [T, E], to be decoded without quantisation.
    """

    codes: np.ndarray | None
    samples: int
    prompt: np.ndarray | None = None
    damaged: np.ndarray | None = None
    z: np.ndarray | None = None

    @property
    def frames(self) -> int:
        """T."""
        return len(self.z if self.codes is None else self.codes)


class Detokenizer:
    """Tokens to speech.

    Args:
        config: configuration of a run of task tokenizer.
        arrays: {"params": {"tokens", "condition", "decoder", "books"}, "features"}.
        features: the surface features.
    """

    def __init__(self, config: Config, arrays: PyTree, features: SurfaceFeatures) -> None:
        model = dataclasses.replace(config.model, compute_dtype="float32")
        self.config, self.features = dataclasses.replace(config, model=model), features
        self._arrays = jax.device_put(arrays)
        self.waveforms = Waveforms(features, self._arrays["features"])
        self._generate = jax.jit(self._latents, static_argnames="steps")
        self._embed = jax.jit(speech_tokens.embed)

    def prompt(self, audio_S: np.ndarray) -> np.ndarray:
        """The voice of some speech, float16 [P, C]: its features, `PROMPT` seconds at most.

        Raises:
            UserError: the audio is too short or silent.
        """
        first, last = self.waveforms.voice(audio_S, PROMPT)
        return self.waveforms.latents(audio_S[first:last]).astype(np.float16)

    def source(self, tokens: Tokens, prompt: np.ndarray | None = None) -> Source:
        """Tokens as `speak` takes them; `prompt` replaces the voice that they carry."""
        prompt = tokens.prompt if prompt is None else prompt
        if prompt is not None and prompt.shape[1] != self.features.channels:
            raise UserError(
                f"{tokens.id or 'the tokens'}: the prompt has {prompt.shape[1]} channels, this"
                f" model {self.features.channels}"
            )
        return Source(tokens.codes, tokens.samples, prompt, tokens.damaged.any(1))

    def speak(self, sources: Sequence[Source], sampling: Sampling) -> list[np.ndarray]:
        """Waveforms, float32 [samples] in [-1, 1]."""
        order = np.argsort([source.frames for source in sources], kind="stable")
        result: list[np.ndarray] = [np.zeros(0, np.float32)] * len(sources)
        for first in range(0, len(order), AT_ONCE):
            same = order[first : first + AT_ONCE]
            for place, x_TxC in zip(same, self._features([sources[n] for n in same], sampling)):
                result[place] = self._waveform(sources[place], x_TxC)
        return result

    def _waveform(self, source: Source, x_TxC: np.ndarray) -> np.ndarray:
        """Decode, with the prompt's last second in front so that the start has context."""
        around = round(BEFORE * self.features.frame_rate)
        before = x_TxC[:0] if source.prompt is None else source.prompt[-around:]
        whole = np.concatenate([before.astype(np.float32), x_TxC])
        wave = self.waveforms.audio(whole)[len(before) * self.features.hop :]
        if source.damaged is not None:
            wave[np.repeat(source.damaged, self.features.hop)] = 0.0
        return np.pad(wave, (0, max(source.samples - len(wave), 0)))[: source.samples]

    def _features(self, sources: Sequence[Source], sampling: Sampling) -> list[np.ndarray]:
        """Normalised features of each source, float32 [T, C]; one window after another."""
        rate, config = self.features.frame_rate, self.config
        before, after = round(BEFORE * rate), round(AFTER * rate)
        longest = round(config.data.buckets[-1] * rate)
        prompts = [s.prompt if s.prompt is not None else self._nothing() for s in sources]
        most = max(map(len, prompts))
        new = max(longest - most - before - after, round(NEW * rate))
        key = jax.random.key(sampling.seed)
        totals = [source.frames for source in sources]
        # The prompts' noise does not shift that of the speech.
        shapes = (key, max(totals) + after), (jax.random.fold_in(key, 1), max(most, 1))
        noise, prompt_noise = (
            np.asarray(flow.noise(key, (1, length, self.features.channels)))[0]
            for key, length in shapes
        )
        read = [self._read(source) for source in sources]
        made = [self._nothing() for _ in sources]
        while left := [n for n, total in enumerate(totals) if len(made[n]) < total]:
            rows = _Rows(len(left), self.features.channels, read[0].shape[1])
            for n in left:
                done = len(made[n])
                start, end = max(done - before, 0), min(done + new + after, totals[n])
                rows.add(prompts[n], made[n][start:], read[n][start:end])
                rows.noise[-1] = np.concatenate([prompt_noise[: len(prompts[n])], noise[start:end]])
            found = self._run(rows, sampling)
            for n, x_TxC in zip(left, found):
                done = len(made[n])
                seen = len(prompts[n]) + done - max(done - before, 0)
                last = done + new + after >= totals[n]
                fresh = x_TxC[seen:] if last else x_TxC[seen : seen + new]
                made[n] = np.concatenate([made[n], fresh])
        return made

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self.features.channels), np.float32)

    def _read(self, source: Source) -> np.ndarray:
        """What the decoder reads in place of z, float32 [T, E]; NaN for the null vector."""
        if source.codes is None:
            return np.asarray(source.z, np.float32)
        params = self._arrays["params"]
        codes_KxT = np.pad(
            source.codes.T.astype(np.int32), ((0, 0), (0, -source.frames % FRAME_STEP))
        )
        found = self._embed(params["tokens"], params["books"], codes_KxT)
        found = np.array(found)[: source.frames]
        if source.damaged is not None:
            found[source.damaged] = np.nan
        return found

    def _run(self, rows: "_Rows", sampling: Sampling) -> list[np.ndarray]:
        options = self.config.flow
        guidance = options.guidance if sampling.guidance is None else sampling.guidance
        temperature = sampling.temperature or options.temperature
        found = self._generate(
            self._arrays["params"],
            rows.arrays(),
            np.float32(guidance),
            np.float32(temperature),
            steps=sampling.steps or options.sample_steps,
        )
        return [x_TxC[: len(noise)] for x_TxC, noise in zip(np.asarray(found), rows.noise)]

    def _latents(
        self,
        params: PyTree,
        rows: tuple[jax.Array, ...],
        guidance: jax.Array,
        temperature: jax.Array,
        *,
        steps: int,
    ) -> jax.Array:
        known_BxTxC, visible_B, frames_B, read_BxTxE, x0_BxTxC = rows
        config = with_steps(self.config, steps)
        total = known_BxTxC.shape[1]
        mask_BxT = masking.frame_mask(frames_B, total)
        hidden_BxT = mask_BxT & (jnp.arange(total) >= visible_B[:, None])
        null = jnp.isnan(read_BxTxE[..., :1]) | ~hidden_BxT[..., None]
        z_BxTxE = jnp.where(null, params["condition"]["null"], read_BxTxE)
        arguments = (z_BxTxE, known_BxTxC, hidden_BxT, mask_BxT, temperature * x0_BxTxC, config)
        return flow.sample(params, *arguments, guidance=guidance)


class _Rows:
    """The rows of one batch of windows, as lists of arrays of different lengths."""

    def __init__(self, count: int, channels: int, width: int) -> None:
        self._count, self._channels, self._width = count, channels, width
        self._known: list[np.ndarray] = []
        self._read: list[np.ndarray] = []
        self._hidden_from: list[int] = []
        self.noise: list[np.ndarray] = []

    def add(self, prompt: np.ndarray, before: np.ndarray, read: np.ndarray) -> None:
        """A window: the prompt, visible frames before, and what is read of these and the rest."""
        self._known.append(np.concatenate([prompt.astype(np.float32), before]))
        empty = np.full((len(prompt), self._width), np.nan, np.float32)
        self._read.append(np.concatenate([empty, read]))
        self._hidden_from.append(len(self._known[-1]))
        self.noise.append(np.zeros(0))

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Known features [B, T, C], visible frames [B], frames [B], what is read, and noise."""
        rows = 1 << (self._count - 1).bit_length()
        lengths = np.array([len(read) for read in self._read])
        total = -(-lengths.max() // FRAME_STEP) * FRAME_STEP

        def padded(parts: list[np.ndarray], width: int) -> np.ndarray:
            array = np.zeros((rows, total, width), np.float32)
            for row, part in enumerate(parts):
                array[row, : len(part)] = part
            return array

        more = (0, rows - self._count)
        return (
            padded(self._known, self._channels),
            np.pad(self._hidden_from, more).astype(np.int32),
            np.pad(lengths, more).astype(np.int32),
            padded(self._read, self._width),
            padded(self.noise, self._channels),
        )
