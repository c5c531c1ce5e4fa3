"""Waveforms to normalised surface features and back, as speech synthesis needs it, and voices."""

import dataclasses
import functools
import hashlib

import jax
import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.types import PyTree

FRAME_STEP = 100  # lengths are padded to multiples, so that few programs compile
PIECE, CONTEXT = 3000, 100  # frames that are decoded at once, and more at both ends of a piece
QUIET = 0.03  # of the loudest tenth of a second: below it the ends of a recording are silence
KEPT_SILENCE = 0.2  # seconds of silence that stay at the ends
SHORTEST = 0.5  # seconds of speech that a voice needs


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the decoder generates.

    Attributes:
        seed: of the noise.
        guidance: a in v = (1 + a) v_cond - a v_null; None: that of the training's configuration.
        temperature: standard deviation of the noise; None: likewise.
        steps: of the solver; None: likewise.
    """

    seed: int = 0
    guidance: float | None = None
    temperature: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        self.require_positive("temperature", "steps")

    def require_positive(self, *names: str) -> None:
        """Raise a `UserError` for a field that is given and not positive."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} must be positive; got {value:g}")


def digest(settings: str, arrays: PyTree) -> str:
    """16 hexadecimal digits of settings and of a tree of float32 arrays."""
    found = hashlib.sha256(settings.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        found.update(jax.tree_util.keystr(path).encode())
        found.update(np.asarray(leaf, "<f4").tobytes())
    return found.hexdigest()[:16]


def with_steps(config: Config, steps: int) -> Config:
    """A configuration whose sampler takes `steps` steps and leaves the noise as it is."""
    flow = dataclasses.replace(config.flow, sample_steps=steps, temperature=1.0)
    return dataclasses.replace(config, flow=flow)


class Waveforms:
    """The surface features of a model, compiled.

    Args:
        features: the surface features.
        weights: their parameters.
    """

    def __init__(self, features: SurfaceFeatures, weights: PyTree) -> None:
        self.features, self._weights = features, weights
        self._encode, self._decode = jax.jit(features.encode), jax.jit(features.decode)

    @functools.cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of everything on which the features depend."""
        return digest(f"{self.features.sample_rate} {self.features.hop}", self._weights)

    def latents(self, audio_S: np.ndarray) -> np.ndarray:
        """Normalised features, float32 [S // hop, C], of audio in [-1, 1]."""
        (left, right), hop = self.features.context, self.features.hop
        frames = len(audio_S) // hop
        padding = (left, right + -frames % FRAME_STEP * hop)
        found = self._encode(self._weights, np.pad(audio_S[: frames * hop], padding)[None])
        return np.asarray(found)[0, :frames]

    def audio(self, x_TxC: np.ndarray) -> np.ndarray:
        """The waveform, float32 [T * hop] in [-1, 1]; long ones are decoded in pieces."""
        hop, parts = self.features.hop, []
        for first in range(0, len(x_TxC), PIECE):
            start, end = max(first - CONTEXT, 0), first + PIECE + CONTEXT
            piece = x_TxC[start:end]
            padded = np.pad(piece, ((0, -len(piece) % FRAME_STEP), (0, 0)))
            wave = np.asarray(self._decode(self._weights, padded[None]))[0]
            last = min(first + PIECE, len(x_TxC))
            parts.append(wave[(first - start) * hop : (last - start) * hop])
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def round_trip(self, audio_S: np.ndarray) -> np.ndarray:
        """The waveform of the audio's features, float32 [S]."""
        padded = np.pad(audio_S, (0, -len(audio_S) % self.features.hop))
        return self.audio(self.latents(padded))[: len(audio_S)]

    def voice(self, audio_S: np.ndarray, seconds: float) -> tuple[int, int]:
        """First sample of the speech and the sample after its last one, whole frames apart.

        Long silence at the ends is left out.

        Args:
            audio_S: float32 [S] in [-1, 1].
            seconds: the longest voice.

        Raises:
            UserError: the audio is too short or silent.
        """
        rate, hop = self.features.sample_rate, self.features.hop
        first, last = _speech_in(audio_S, rate, KEPT_SILENCE)
        first -= first % hop
        if last - first < SHORTEST * rate:
            raise UserError(
                f"the prompt has {(last - first) / rate:.2f} s of speech; at least {SHORTEST:g} s"
                " are needed, and 3 s are better"
            )
        return first, first + min(last - first, round(seconds * rate)) // hop * hop

    def sounding(self, audio_S: np.ndarray) -> tuple[int, int]:
        """First sample, and the sample after the last, of the speech itself, to 0.1 s.

        Raises:
            UserError: the audio is silent.
        """
        return _speech_in(audio_S, self.features.sample_rate, 0.0)


def _speech_in(audio_S: np.ndarray, rate: int, kept: float) -> tuple[int, int]:
    """First sample, and the sample after the last, of the speech with `kept` s of silence."""
    step = rate // 10
    blocks = audio_S[: len(audio_S) // step * step].reshape(-1, step)
    level = np.sqrt(np.mean(np.square(blocks), axis=1)) if len(blocks) else np.zeros(1)
    if level.max() < 1e-4:
        raise UserError("the prompt is silent")
    loud = np.flatnonzero(level > QUIET * level.max())
    margin = round(kept * rate)
    return max(loud[0] * step - margin, 0), min((loud[-1] + 1) * step + margin, len(audio_S))
