"""Several candidates of each line, of which the one that a recogniser understands best is kept."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from uniwav_jax.errors import UserError
from uniwav_jax.inference import voices
from uniwav_jax.inference.align import FRAME_STEP, TOKEN_STEP
from uniwav_jax.inference.recognize import Recognizer
from uniwav_jax.inference.speak import Line, Settings, Speaker, Speech
from uniwav_jax.losses import ctc
from uniwav_jax.text import frontend

MOST = 64  # candidates of a line


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen for a line.

    Attributes:
        seed: of the candidate that was kept.
        losses: CTC loss of each candidate in nats per letter or phone, in the order of the seeds;
            infinite where the text has more of them than the speech can hold.
    """

    seed: int
    losses: tuple[float, ...]


class Candidates:
    """Speaks lines with the seeds s, s + 1, ... and ranks them.

    Args:
        recognizer: of letters, or of phones (`voices.tokens`).
        count: of candidates.

    Attributes:
        choices: of all lines so far, in their order.

    Raises:
        UserError: there is no recogniser, or the count is not from 1 to `MOST`.
    """

    def __init__(self, recognizer: Recognizer | None, count: int) -> None:
        if not 1 <= count <= MOST:
            raise UserError(f"the number of candidates must be from 1 to {MOST}; got {count}")
        if recognizer is None:
            raise UserError("candidates are ranked by a recogniser; give one (--recognizer)")
        self._recognizer, self._count = recognizer, count
        self._losses = jax.jit(ctc.loss)
        self.choices: list[Choice] = []

    def speak(
        self,
        speaker: Speaker,
        lines: Sequence[Line],
        parts: Sequence[frontend.Speech],
        settings: Settings,
    ) -> list[Speech]:
        """The best speech of each line.

        Args:
            speaker: the model.
            lines: what is spoken.
            parts: the words of each line.
            settings: with the first of the seeds.

        Raises:
            UserError: the recogniser does not know a letter or phone of a line.
        """
        tokens = [voices.tokens(self._recognizer, part.words) for part in parts]
        seeds = range(settings.seed, settings.seed + self._count)
        runs = [speaker.speak(lines, dataclasses.replace(settings, seed=seed)) for seed in seeds]
        kept = []
        for numbers, *candidates in zip(tokens, *runs, strict=True):
            losses = self._ranked([speech.wave for speech in candidates], numbers, speaker)
            best = int(np.argmin(losses))
            kept.append(candidates[best])
            self.choices.append(Choice(seeds[best], tuple(losses)))
        return kept

    def _ranked(
        self, waves: Sequence[np.ndarray], tokens: Sequence[int], speaker: Speaker
    ) -> list[float]:
        """CTC loss of each wave, per token."""
        rate = speaker.features.sample_rate
        heard = voices.posteriors(self._recognizer, waves, rate)
        frames = max(map(len, heard))
        total, most = (-(-n // s) * s for n, s in ((frames, FRAME_STEP), (len(tokens), TOKEN_STEP)))
        padded = np.stack([np.pad(h, ((0, total - len(h)), (0, 0))) for h in heard])
        mask = np.arange(total) < np.array([[len(h)] for h in heard])
        numbers = np.full((len(heard), most), -1, np.int32)
        numbers[:, : len(tokens)] = tokens
        losses = np.asarray(self._losses(padded, mask, numbers)) / len(tokens)
        possible = np.asarray(ctc.possible(mask, numbers))
        return np.where(possible, losses, np.inf).tolist()
