"""Speech synthesis in PyTorch: phones as input, durations, and phones to speech.

phones = model.read("Good morning.")              # or symbols or numbers, see uniwav_text.py
wave = model.speak(phones, prompt_BxPxC=prompt)   # float32 [B, S]
"""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from . import uniwav_text
from .uniwav_features import Float32
from .uniwav_layers import Encoder
from .uniwav_text import PLACES, SILENCE, STRESSES

LEVEL, MOST_CHANGE, QUIET = 0.06, 4.0, 0.03  # of the waveform, as in uniwav_jax/inference
FRAME_STEP = 100  # the codec decodes multiples of it, as in uniwav_jax/inference/waveforms.py
PAUSES, LEAST, MOST = 0.5, 0.25, 4.0  # of the speed, as in uniwav_jax/inference/speak.py
# A list or a tensor of one row or of several; -1 after the end of a row is left out.
Rows = torch.Tensor | Sequence[Any]


class Phones(nn.Module):
    """Embeddings of symbols: the sum of those of phone, stress and place in the word."""

    def __init__(self, phones: int, width: int) -> None:
        super().__init__()
        self.phone = nn.Parameter(torch.zeros(phones, width))
        self.stress = nn.Parameter(torch.zeros(len(STRESSES), width))
        self.place = nn.Parameter(torch.zeros(len(PLACES), width))

    def forward(self, phones_BxU: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, U, D] of numbers of symbols, int64; zero where they are -1."""
        which = phones_BxU.clamp(min=0)
        phone, stress = which // (len(PLACES) * len(STRESSES)), which // len(PLACES) % len(STRESSES)
        total = self.phone[phone] + self.stress[stress] + self.place[which % len(PLACES)]
        return total.masked_fill((phones_BxU < 0)[..., None], 0.0)


class Durations(Float32):
    """Durations from the phones and from the visible durations of a prompt, in float32.

    Args:
        phones: number of phones.
        c: structure of the Transformer, as of the encoder.
    """

    def __init__(self, phones: int, c: dict[str, Any]) -> None:
        super().__init__()
        self.tables = Phones(phones, c["width"])
        self.encoder = Encoder(c, c["width"] + 2)
        self.out = nn.Linear(c["width"], 1)

    def forward(
        self, phones_BxU: torch.Tensor, frames_BxU: torch.Tensor, visible_BxU: torch.Tensor
    ) -> torch.Tensor:
        """log(1 + frames) of each phone, float32 [B, U].

        Args:
            phones_BxU: numbers of symbols, int64; -1 on padding.
            frames_BxU: the durations, which are read only where they are visible.
            visible_BxU: bool, True where the model sees the duration.
        """
        visible = visible_BxU.float()
        seen = torch.stack([frames_BxU.clamp(min=0).float().log1p() * visible, visible], dim=-1)
        x = torch.cat([self.tables(phones_BxU), seen], dim=-1)
        return self.out(self.encoder(x, phones_BxU >= 0).final)[..., 0]


class Speaking:
    """Methods of the networks that need the part "phones"."""

    def read(self, text: str, **options: Any) -> list[str]:
        """Symbols of an English text; options and errors as of `uniwav_text.read`."""
        self._part("phones")
        return uniwav_text.read(text, stress=self.c["tts"]["stress"], **options)

    def numbers(self, phones: Rows | str) -> list[torch.Tensor]:
        """Numbers of the symbols of each row, int64 [U].

        Args:
            phones: symbols or their numbers, or a text, which `read` turns into one row of symbols.

        Raises:
            ValueError: a phone is not known, or a row has none.
        """
        self._part("phones")
        known, found = self.c["tts"]["phones"], []
        count = len(known) * len(STRESSES) * len(PLACES)
        for row in _rows(self.read(phones) if isinstance(phones, str) else phones):
            numbers = [uniwav_text.number(p, known) if isinstance(p, str) else p for p in row]
            if not numbers:
                raise ValueError("there is nothing to speak: a row has no phones")
            if not 0 <= min(numbers) <= max(numbers) < count:
                raise ValueError(f"numbers of phones lie between 0 and {count - 1}; got {numbers}")
            found.append(torch.tensor(numbers, device=self.condition.null.device))
        return found

    def predict_durations(
        self,
        phones: Rows | str,
        prompt_phones: Rows | str | None = None,
        prompt_durations: Rows | None = None,
        *,
        speed: float = 1.0,
        total: int | None = None,
    ) -> torch.Tensor:
        """Frames of each phone, at least 1, int64 [B, U]; -1 after the end of a row.

        Args:
            phones: see `numbers`.
            prompt_phones: what is said in a prompt, for all rows or each; its rhythm is continued.
            prompt_durations: frames of each of the prompt's phones.
            speed: factor of the tempo, 0.25 to 4; it changes pauses less than phones.
            total: frames of each row; None: as predicted.

        Raises:
            ExportError: the model was trained without durations.
            ValueError: see `numbers`; or the speed or the durations of the prompt are wrong, or
                there are more phones than `total`.
        """
        model, rows = self._part("durations"), self.numbers(phones)
        if not LEAST <= speed <= MOST:
            raise ValueError(f"the speed must be between {LEAST} and {MOST}; got {speed:g}")
        silence = uniwav_text.number(SILENCE, [*self.c["tts"]["phones"], SILENCE])
        known, found = self._known(prompt_phones, prompt_durations, len(rows)), []
        for row, (before, frames) in zip(rows, known, strict=True):
            both, unknown = torch.cat([before, row]), torch.zeros_like(row)
            place = torch.arange(len(both), device=row.device)
            # The first and the last phone of a prompt may have been cut.
            visible = (place > 0) & (place < len(before) - 1)
            logs = model(both[None], torch.cat([frames, unknown])[None], visible[None])
            weights = logs[0, len(before) :].expm1().clamp(min=1.0)
            weights = weights / torch.where(row == silence, speed**PAUSES, speed)
            wanted = round(float(weights.sum())) if total is None else total
            if total is not None and total < len(row):
                raise ValueError(f"{total} frames are too few for {len(row)} phones")
            found.append(shared_out(weights, max(wanted, len(row))))
        return pad_sequence(found, True, -1)

    def speak(
        self,
        phones: Rows | str,
        durations: Rows | None = None,
        prompt_BxPxC: torch.Tensor | None = None,
        *,
        prompt_phones: Rows | str | None = None,
        prompt_durations: Rows | None = None,
        noise_BxTxC: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        speed: float = 1.0,
        **settings: Any,
    ) -> torch.Tensor:
        """Speech, float32 [B, S] in [-1, 1] at `features.sample_rate`; silence after a row's end.

        Its root mean square is about 0.06; divide it by the factor that scaled the prompt.

        A row is what is spoken at once: a sentence, at most about 12 s.

        Args:
            phones: see `numbers`.
            durations: frames of each phone, at least 1; None: those of `predict_durations`.
            prompt_BxPxC: normalised features whose voice is continued, for all rows or each, such
                as `features.encode` gives of speech with a root mean square of about 0.06; None: a
                voice from the noise.
            prompt_phones: what is said in the prompt, for all rows or each; None: not known.
            prompt_durations: frames of each of them, which add up to P; where they are not known,
                `predict_durations(prompt_phones, total=P)` approximates them.
            noise_BxTxC: standard Gaussian noise, float32, for all rows or each, of P frames of the
                prompt and of those of the longest row; None: drawn with `generator`.
            generator: of the noise; None: one with seed 0.
            speed: of the predicted durations, see `predict_durations`.
            settings: steps, solver, guidance, temperature and sway, as of `sample`.

        Raises:
            ExportError: the model was trained without durations, and none are given.
            ValueError: see `predict_durations`; or prompt, durations or noise do not fit.
        """
        rows, device = self.numbers(phones), self.condition.null.device
        count, channels = len(rows), self.c["features"]["channels"]
        if durations is None:
            rhythm = prompt_phones, prompt_durations
            durations = self.predict_durations(rows, *rhythm, speed=speed)
        prompt = torch.zeros(1, 0, channels) if prompt_BxPxC is None else prompt_BxPxC
        first = prompt.shape[1]
        prompt = _for_all(prompt, (count, first, channels), "the prompt").to(device)
        placed = []
        known = self._known(prompt_phones, prompt_durations, count)
        for row, frames, before in zip(rows, _frames(durations, rows), known, strict=True):
            if len(before[0]) and int(before[1].sum()) != first:
                raise ValueError(
                    f"the prompt's durations add up to {before[1].sum()} frames, but it has {first}"
                )
            silent = row.new_full((first if not len(before[0]) else 0,), -1)
            numbers = torch.cat([before[0], row]), torch.cat([before[1], frames])
            placed.append(torch.cat([silent, torch.repeat_interleave(*numbers)]))
        placed_BxT = pad_sequence(placed, True, -1)
        lengths = [len(row) for row in placed]
        place = torch.arange(placed_BxT.shape[1], device=device)
        mask = place < torch.tensor(lengths, device=device)[:, None]
        hidden = mask & (place >= first)
        shape = (count, len(place), channels)
        if noise_BxTxC is None:
            generator = generator or torch.Generator(device).manual_seed(0)
            noise_BxTxC = torch.randn(shape, generator=generator, device=device)
        noise = _for_all(noise_BxTxC, shape, "the noise").to(device)
        seen = F.pad(prompt, (0, 0, 0, len(place) - first))
        z = self.condition(self.encoder(seen, mask, hidden, self.phones(placed_BxT)))
        x = self.sample_z(z, seen, mask, hidden, noise, **settings)
        # The prompt's last second is decoded too, so that the start has context.
        start = max(first - round(self.features.sample_rate / self.features.hop), 0)
        waves = [
            self._wave(x[row : row + 1, start:length], first - start)
            for row, length in enumerate(lengths)
        ]
        return pad_sequence(waves, True)

    def _known(
        self, phones: Rows | str | None, durations: Rows | None, count: int
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Numbers and frames of the prompt's phones for each of `count` rows; both may be empty."""
        if phones is None and durations is None:
            nothing = torch.zeros(0, dtype=torch.int64, device=self.condition.null.device)
            return [(nothing, nothing)] * count
        if phones is None or durations is None:
            raise ValueError(
                "prompt_phones and prompt_durations are given together; where the durations are not"
                " known, predict_durations(prompt_phones, total=FRAMES OF THE PROMPT) gives some"
            )
        numbers = self.numbers(phones)
        if len(numbers) not in (1, count):
            raise ValueError(f"the prompt's phones are 1 row or {count}; got {len(numbers)}")
        frames = _frames(durations, numbers)
        return list(zip(numbers, frames, strict=True)) * (count // len(numbers))

    def _wave(self, x_1xTxC: torch.Tensor, before: int) -> torch.Tensor:
        """The waveform [S] of features without their first `before` frames."""
        hop, total = self.features.hop, x_1xTxC.shape[1]
        wave = self.features.decode(F.pad(x_1xTxC, (0, 0, 0, -total % FRAME_STEP)))
        return _levelled(wave[0, before * hop : total * hop], self.features.sample_rate // 10)


def _levelled(wave_S: torch.Tensor, step: int) -> torch.Tensor:
    """The waveform with a root mean square of `LEVEL` in its speech, found in blocks of `step`."""
    blocks = wave_S[: len(wave_S) // step * step].reshape(-1, step).square().mean(1).sqrt()
    if not len(blocks) or blocks.max() < 1e-4:
        return wave_S
    loud = torch.nonzero(blocks > QUIET * blocks.max())
    speech = wave_S[int(loud[0]) * step : (int(loud[-1]) + 1) * step]
    peak = float(wave_S.abs().max())
    change = min(LEVEL / float(speech.square().mean().sqrt()), MOST_CHANGE, 0.99 / peak)
    return max(change, 1.0 / MOST_CHANGE) * wave_S


def _rows(values: Rows) -> list[list[str | int]]:
    """The rows of a list or tensor of one or more rows, as lists without -1 at their ends."""
    values = values.tolist() if hasattr(values, "tolist") else values
    one = not len(values) or isinstance(values[0], str) or not hasattr(values[0], "__len__")
    found = []
    for row in [values] if one else values:
        row = row.tolist() if hasattr(row, "tolist") else row
        row = [item if isinstance(item, str) else operator.index(item) for item in row]
        while row and row[-1] == -1:
            row.pop()
        found.append(row)
    return found


def _frames(durations: Rows, phones: list[torch.Tensor]) -> list[torch.Tensor]:
    """Durations of each row's phones, int64 [U]."""
    rows = _rows(durations)
    counts, wanted = [len(row) for row in rows], [len(row) for row in phones]
    if counts != wanted or min(map(min, rows)) < 1:
        raise ValueError(
            f"durations are at least 1 frame for each phone: {wanted} in the rows; got {rows}"
        )
    return [torch.tensor(row, device=one.device) for row, one in zip(rows, phones, strict=True)]


def _for_all(x_BxTxC: torch.Tensor, shape: tuple[int, int, int], name: str) -> torch.Tensor:
    """The same as float32 in `shape`, of which it may have one row for all."""
    if x_BxTxC.dim() != 3 or tuple(x_BxTxC.shape) not in (shape, (1, *shape[1:])):
        raise ValueError(
            f"{name} is [1 or {shape[0]}, {shape[1]}, {shape[2]}]; got {tuple(x_BxTxC.shape)}"
        )
    return x_BxTxC.float().expand(shape)


def shared_out(weights_U: torch.Tensor, total: int) -> torch.Tensor:
    """Whole numbers of at least 1 in proportion to `weights_U`, which add up to `total`; int64 [U].

    Args:
        weights_U: positive, float32.
        total: at least U.
    """
    spare = total - len(weights_U)
    exact = (weights_U / weights_U.sum() * total - 1.0).clamp(min=0.0)
    exact = exact * (spare / exact.sum().clamp(min=1e-9))
    whole = (exact + 1e-9).floor()
    largest = (whole - exact).argsort(stable=True)
    more = torch.zeros_like(whole)
    more[largest[: max(spare - int(whole.sum()), 0)]] = 1.0
    return (whole + more + 1.0).long()
