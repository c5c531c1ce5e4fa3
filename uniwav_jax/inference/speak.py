"""Text-to-speech: durations of phones, then speech in the voice of a prompt.

    prompt -> latents, visible             ┐
    phones of the text -> durations        ├-> encoder -> z -> flow matching -> latents -> waveform
    noise, drawn from the seed             ┘

Rows of similar length are generated together. The result does not depend on the others in the batch
or on the padding, up to rounding: the noise of a frame depends on the seed and on its place only.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.data import phone_labels
from uniwav_jax.errors import UserError
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.inference import characters
from uniwav_jax.inference.waveforms import FRAME_STEP, Sampling, Waveforms, with_steps
from uniwav_jax.models import durations, flow, masking
from uniwav_jax.tasks import tts
from uniwav_jax.text.textgrid import SILENCE
from uniwav_jax.types import PyTree

LEVEL = 0.06  # root mean square to which prompts are scaled; about that of LibriSpeech
MOST_CHANGE = 4.0  # largest factor by which generated speech is scaled to that level, or divided
LONGEST = 10.0  # seconds of a prompt, without long silence at its ends
PHONE_STEP = 32  # lengths are padded to multiples, so that few programs compile
BATCH_FRAMES = 4000  # frames that are generated at once, padding included
PAUSES = 0.5  # exponent with which --speed changes pauses; it changes phones with exponent 1
LEAST, MOST = 0.25, 4.0  # factors of speed
DURATIONS = ("model", "even", "characters")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """Speech whose voice is continued.

    Attributes:
        x_TxC: its normalised latents, float32; T is 0 for no prompt.
        phones: numbers of its symbols, int32 [U], where its phones are known; otherwise empty.
        ends: the frame after each phone's last one, int32 [U].
        gain: factor by which the speech was scaled.
        text: its words, where they are known.
    """

    x_TxC: np.ndarray
    phones: np.ndarray
    ends: np.ndarray
    gain: float = 1.0
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Line:
    """What is spoken at once, usually a sentence.

    Attributes:
        symbols: phones with their places in words (text/phones.py), silences included.
        frames: the durations, int [U]; None: the model predicts them.
        prompt: the voice.
        text: its words and marks, for durations by characters.
    """

    symbols: Sequence[str]
    prompt: Prompt
    frames: np.ndarray | None = None
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Settings(Sampling):
    """How speech is generated.

    Attributes:
        speed: factor of the predicted tempo.
        seconds: of the new speech, exact to a frame; None: as predicted.
        durations: "model"; "even": the predicted length, spread evenly over the phones; or
            "characters": a length by the characters of the text, spread evenly. None: those of the
            model, if it was trained with durations, otherwise by characters.
    """

    speed: float = 1.0
    seconds: float | None = None
    durations: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("seconds")
        if not LEAST <= self.speed <= MOST:
            raise UserError(f"the speed must be between {LEAST} and {MOST}; got {self.speed:g}")
        if self.durations not in (None, *DURATIONS):
            known = ", ".join(DURATIONS)
            raise UserError(f"durations must be one of {known}; got {self.durations!r}")


@dataclasses.dataclass(frozen=True)
class Speech:
    """What was spoken.

    Attributes:
        wave: float32 [samples] in [-1, 1].
        phones: (start, end, symbol), in seconds.
    """

    wave: np.ndarray
    phones: list[tuple[float, float, str]]


class Speaker:
    """A model of task tts, ready to speak.

    Args:
        config: of its training, with the phones.
        arrays: {"params": {"encoder", "phones", "condition", "decoder", "durations"}, "features"}.
        features: the surface features.
    """

    def __init__(self, config: Config, arrays: PyTree, features: SurfaceFeatures) -> None:
        self.config, self.features = config, features
        self._arrays = jax.device_put(arrays)
        self.vocabulary = phone_labels.vocabulary(config.tts.phones)
        self.waveforms = Waveforms(features, self._arrays["features"])
        self._durations = jax.jit(self._log_durations)
        self._generate = jax.jit(self._latents, static_argnames="steps")

    def prompt(
        self, audio: np.ndarray, phones: Sequence[tuple[float, float, str]] = (), text: str = ""
    ) -> Prompt:
        """A prompt from audio, scaled to a common level, without long silence at its ends.

        Args:
            audio: float32 [samples] in [-1, 1], at the features' sample rate.
            phones: (start, end, symbol) in seconds from its start, if they are known; the first
                starts at 0.
            text: the words, if they are known.

        Raises:
            UserError: the audio is too short or silent.
        """
        rate, hop = self.features.sample_rate, self.features.hop
        first, last = self.waveforms.voice(audio, LONGEST)
        gain = LEVEL / float(np.sqrt(np.mean(np.square(audio[first:last]))))
        gain = min(gain, 0.99 / float(np.abs(audio[first:last]).max()))
        x_TxC = self.waveforms.latents(gain * audio[first:last])
        numbers, ends = [], []
        for _, end, symbol in phones:
            frame = int(np.ceil((end * rate - first) / hop - 0.5))
            if frame > 0 and (not ends or ends[-1] < len(x_TxC)):
                numbers.append(self.vocabulary.number(symbol))
                ends.append(min(frame, len(x_TxC)))
        if ends:
            ends[-1] = len(x_TxC)
        return Prompt(x_TxC, np.array(numbers, np.int32), np.array(ends, np.int32), gain, text)

    def no_prompt(self) -> Prompt:
        """An empty prompt: the voice comes from the noise."""
        empty = np.zeros(0, np.int32)
        return Prompt(np.zeros((0, self.features.channels), np.float32), empty, empty)

    def durations(self, line: Line, settings: Settings = Settings()) -> np.ndarray:
        """Frames of each symbol of a line, int [U], at least 1 each.

        Raises:
            UserError: the model was trained without durations, and they are wanted; or durations by
                characters are, and the line has no text.
        """
        new = self._numbers(line)
        trained = "durations" in self._arrays["params"]
        kind = settings.durations or ("model" if trained else "characters")
        if kind == "characters":
            weights = np.full(len(new), self._by_characters(line) / len(new) / settings.speed)
        elif trained:
            weights = self._predicted(line, new)
            pause = np.array([symbol == SILENCE for symbol in line.symbols])
            weights /= np.where(pause, settings.speed**PAUSES, settings.speed)
        else:
            raise UserError(
                "the model was trained without durations (tts.duration_weight=0); those by"
                " characters need none"
            )
        total = weights.sum()
        if kind == "even":
            weights = np.ones(len(new))
        if settings.seconds is not None:
            total = settings.seconds * self.features.frame_rate
        return shared_out(weights, max(round(total), len(new)))

    def _by_characters(self, line: Line) -> float:
        """Frames of a line, by its text and that of its prompt."""
        if not line.text:
            raise UserError("durations by characters need the text of the line")
        rate = self.features.frame_rate
        prompt = line.prompt
        return rate * characters.seconds(line.text, prompt.text, len(prompt.x_TxC) / rate)

    def _predicted(self, line: Line, new: list[int]) -> np.ndarray:
        """Frames of each new phone by the model, float [U], at least 1 each."""
        known = np.diff(line.prompt.ends, prepend=0)
        count = len(known) + len(new)
        width = -(-count // PHONE_STEP) * PHONE_STEP
        numbers, frames, visible = (np.zeros((1, width), np.int32) for _ in range(3))
        numbers[:] = -1
        numbers[0, :count] = [*line.prompt.phones, *new]
        frames[0, : len(known)] = known
        visible[0, 1 : max(len(known) - 1, 1)] = 1  # the first and the last may have been cut
        logs = self._durations(self._arrays["params"], numbers, frames, visible.astype(bool))
        return np.maximum(np.expm1(np.asarray(logs)[0, len(known) : count]), 1.0)

    def _log_durations(self, params: PyTree, *rows: jax.Array) -> jax.Array:
        return durations.predict(params["durations"], *rows, None, self.config)

    def _numbers(self, line: Line) -> list[int]:
        if not line.symbols:
            raise UserError("there is nothing to speak")
        return [self.vocabulary.number(symbol) for symbol in line.symbols]

    def speak(self, lines: Sequence[Line], settings: Settings = Settings()) -> list[Speech]:
        """Speech of lines, without their prompts; those of similar length are computed together."""
        frames = [
            self.durations(line, settings) if line.frames is None else np.asarray(line.frames)
            for line in lines
        ]
        totals = [len(line.prompt.x_TxC) + int(f.sum()) for line, f in zip(lines, frames)]
        result: list[Speech | None] = [None] * len(lines)
        order = np.argsort(totals, kind="stable")
        while len(order):
            width = -(-totals[order[0]] // FRAME_STEP) * FRAME_STEP
            same = [n for n in order if totals[n] <= width][: max(1, BATCH_FRAMES // width)]
            order = order[len(same) :]
            chosen = [(lines[n], frames[n]) for n in same]
            for n, x_TxC in zip(same, self._rows(chosen, width, settings), strict=True):
                result[n] = self._speech(lines[n], frames[n], x_TxC)
        return result

    def _rows(
        self, chosen: list[tuple[Line, np.ndarray]], width: int, settings: Settings
    ) -> list[np.ndarray]:
        """Latents of the new frames of each line, float32 [T, C]."""
        rows = 1 << (len(chosen) - 1).bit_length()
        most = max(len(line.prompt.phones) + 1 + len(frames) for line, frames in chosen)
        phone_width = -(-most // PHONE_STEP) * PHONE_STEP
        known = np.zeros((rows, width, self.features.channels), np.float32)
        prompt_B, frames_B = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        numbers = np.full((rows, phone_width), -1, np.int32)
        ends = np.full((rows, phone_width), -1, np.int32)
        for row, (line, frames) in enumerate(chosen):
            prompt = line.prompt
            start = prompt_B[row] = len(prompt.x_TxC)
            known[row, :start] = prompt.x_TxC
            known_phones, known_ends = prompt.phones, prompt.ends
            if start and not len(known_phones):  # a place without a phone, for the whole prompt
                known_phones, known_ends = np.array([-1], np.int32), np.array([start], np.int32)
            count = len(known_phones) + len(frames)
            numbers[row, :count] = [*known_phones, *self._numbers(line)]
            ends[row, :count] = [*known_ends, *(start + np.cumsum(frames))]
            frames_B[row] = start + frames.sum()
        flow_config = self.config.flow
        guidance = flow_config.guidance if settings.guidance is None else settings.guidance
        temperature = settings.temperature or flow_config.temperature
        made = self._generate(
            self._arrays["params"],
            (known, prompt_B, frames_B, numbers, ends),
            jax.random.key(settings.seed),
            np.float32(guidance),
            np.float32(temperature),
            steps=settings.steps or flow_config.sample_steps,
        )
        made = np.asarray(made)
        return [made[row, prompt_B[row] : frames_B[row]] for row in range(len(chosen))]

    def _latents(
        self,
        params: PyTree,
        rows: tuple[jax.Array, ...],
        key: jax.Array,
        guidance: jax.Array,
        temperature: jax.Array,
        *,
        steps: int,
    ) -> jax.Array:
        known, prompt_B, frames_B, numbers, ends = rows
        config = with_steps(self.config, steps)
        total = known.shape[1]
        mask = masking.frame_mask(frames_B, total)
        hidden = mask & (jnp.arange(total) >= prompt_B[:, None])
        z = tts.condition(params, known, mask, hidden, numbers, ends, config)
        x0 = temperature * jnp.broadcast_to(flow.noise(key, (1, *known.shape[1:])), known.shape)
        return flow.sample(params, z, known, hidden, mask, x0, config, guidance=guidance)

    def _speech(self, line: Line, frames: np.ndarray, x_TxC: np.ndarray) -> Speech:
        """Decode a line; the prompt's last second is decoded too, so that the start has context."""
        before = line.prompt.x_TxC[-round(self.features.frame_rate) :]
        whole = np.concatenate([before, x_TxC])
        hop, rate = self.features.hop, self.features.frame_rate
        wave = self._levelled(self.waveforms.audio(whole)[len(before) * hop :]) / line.prompt.gain
        ends = np.cumsum(frames) / rate
        starts = np.concatenate([[0.0], ends[:-1]])
        timed = list(zip(starts.tolist(), ends.tolist(), line.symbols))
        return Speech(np.clip(wave, -1.0, 1.0), timed)

    def _levelled(self, wave: np.ndarray) -> np.ndarray:
        """Generated speech at the level of prompts; guidance changes it by some decibels."""
        try:
            first, last = self.waveforms.sounding(wave)
        except UserError:  # a line of silence
            return wave
        level = float(np.sqrt(np.mean(np.square(wave[first:last]))))
        change = min(LEVEL / level, MOST_CHANGE, 0.99 / float(np.abs(wave).max()))
        return max(change, 1.0 / MOST_CHANGE) * wave


def shared_out(weights: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers of at least 1 in proportion to `weights`, which add up to `total`; int [U].

    Args:
        weights: positive, [U].
        total: at least U.
    """
    spare = total - len(weights)
    exact = np.maximum(weights / weights.sum() * total - 1.0, 0.0)
    exact *= spare / max(exact.sum(), 1e-9)
    whole = np.floor(exact + 1e-9).astype(int)
    largest = np.argsort(whole - exact, kind="stable")[: spare - whole.sum()]
    whole[largest] += 1
    if (left := spare - whole.sum()) > 0:  # all weights are equal to the least
        whole[:left] += 1
    return whole + 1


def evenly(count: int, total: int) -> np.ndarray:
    """The baseline: `total` frames spread evenly over `count` phones; int [count]."""
    return shared_out(np.ones(count), max(total, count))
