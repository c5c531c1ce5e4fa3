"""Any text as speech: the text front end, sentences as lines, and their speech put together.

    text -> spoken words with phones (text/frontend.py) -> lines -> inference/speak.py -> one wave

Every line has the same prompt, so that the voice does not drift.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from uniwav_jax.errors import UserError
from uniwav_jax.inference import speak as speak_lib
from uniwav_jax.inference import voices
from uniwav_jax.inference.candidates import Candidates
from uniwav_jax.inference.speak import Line, Prompt, Settings, Speaker
from uniwav_jax.inference.words import Word
from uniwav_jax.text import frontend
from uniwav_jax.text.textgrid import SILENCE

MOST_PHONES = 160  # of a line, about 12 s; a longer sentence is divided
AT_ONCE = 16  # lines that are generated together
FADE = 0.01  # seconds of a line's ends that fade in and out


@dataclasses.dataclass(frozen=True)
class Said:
    """A text that was spoken.

    Attributes:
        wave: float32 [samples] in [-1, 1].
        words: the spoken words with their times in seconds.
        phones: (start, end, symbol), in seconds.
        rate: sample rate, in Hz.
    """

    wave: np.ndarray
    words: list[Word]
    phones: list[tuple[float, float, str]]
    rate: int


def speak(
    speaker: Speaker, text: str, prompt: Any = None, rate: int | None = None, **options: Any
) -> Said:
    """Speak a text of any length; arguments and errors as in `lines`."""
    return joined(lines(speaker, text, prompt, rate, **options), speaker.features.sample_rate)


def waves(
    speaker: Speaker, text: str, prompt: Any = None, rate: int | None = None, **options: Any
) -> Iterator[np.ndarray]:
    """The waves, float32 [samples], that `speak` puts together, each as soon as it is ready."""
    for speech, _ in lines(speaker, text, prompt, rate, **options):
        yield faded(speech.wave, speaker.features.sample_rate)


def lines(
    speaker: Speaker,
    text: str,
    prompt: Any = None,
    rate: int | None = None,
    *,
    language: str = "english",
    prompt_text: str | None = None,
    recognizer: Any = None,
    candidates: int = 1,
    **options: Any,
) -> Iterator[tuple[speak_lib.Speech, frontend.Speech]]:
    """Speak a text sentence by sentence; see `stream`.

    Args:
        speaker: the model.
        text: in the language.
        prompt: a `Prompt`, or speech as `inference.waves.blocks` takes it; None: a voice from
            noise.
        rate: sample rate of an array, in Hz; None: the model's.
        language: see `text.frontend.load`.
        prompt_text: what is said in the prompt; see `inference.voices.load`.
        recognizer: a model of task asr, or its `Recognizer`, for the times of the prompt's phones
            and for ranking.
        candidates: of each line, of which the recogniser understands the one that is kept best.
        options: of `Settings`.

    Raises:
        UserError: the text has no word to speak, or the prompt cannot be used.
    """
    spoken = frontend.load(language)(text)
    recognizer = getattr(recognizer, "recognizer", recognizer)
    known = {"text": prompt_text, "language": language, "recognizer": recognizer}
    voice = voices.load(speaker, prompt, rate, **known)
    best = Candidates(recognizer, candidates) if candidates != 1 else None
    return stream(speaker, spoken, voice, Settings(**options), best)


def stream(
    speaker: Speaker,
    spoken: frontend.Speech,
    prompt: Prompt,
    settings: Settings,
    candidates: Candidates | None = None,
) -> Iterator[tuple[speak_lib.Speech, frontend.Speech]]:
    """The speech and the words of each line as soon as they are ready.

    The first line comes alone, then two, four, ... are generated together. With `settings.seconds`
    the lines share that time by their predicted lengths. With `candidates` the best of several is
    kept for each line.
    """
    stress = speaker.config.tts.stress
    parts = list(pieces(spoken))
    lines = [Line(part.phones(stress=stress), prompt, text=part.text) for part in parts]
    if settings.seconds is not None:
        free = dataclasses.replace(settings, seconds=None)
        predicted = np.concatenate([speaker.durations(line, free) for line in lines])
        total = round(settings.seconds * speaker.features.frame_rate)
        if total < len(predicted):
            least = len(predicted) / speaker.features.frame_rate
            raise UserError(
                f"{settings.seconds:g} s are too short for {len(predicted)} phones; at least"
                f" {least:.2f} s are needed"
            )
        shares = speak_lib.shared_out(predicted.astype(float), total)
        ends = np.cumsum([len(line.symbols) for line in lines])[:-1]
        split = np.split(shares, ends)
        lines = [dataclasses.replace(line, frames=f) for line, f in zip(lines, split, strict=True)]
    first = 0
    while first < len(lines):
        last = first + min(first + 1, AT_ONCE)
        chosen = lines[first:last], parts[first:last]
        if candidates:
            made = candidates.speak(speaker, *chosen, settings)
        else:
            made = speaker.speak(chosen[0], settings)
        yield from zip(made, chosen[1], strict=True)
        first = last


def pieces(spoken: frontend.Speech) -> Iterator[frontend.Speech]:
    """The sentences; those of more than `MOST_PHONES` are divided, at marks where there are any."""
    for sentence in spoken.sentences():
        words: list[frontend.Word] = []
        count = 0
        for word in sentence.words:
            if count + len(word.phones) > MOST_PHONES and words:
                marks = [n for n, before in enumerate(words, 1) if before.mark]
                cut = marks[-1] if marks and marks[-1] > len(words) // 2 else len(words)
                yield frontend.Speech(tuple(words[:cut]))
                words = words[cut:]
                count = sum(len(before.phones) for before in words)
            words.append(word)
            count += len(word.phones)
        yield frontend.Speech(tuple(words))


def joined(parts: Iterable[tuple[speak_lib.Speech, frontend.Speech]], rate: int) -> Said:
    """Put lines together one after the other; each begins and ends with a silence of its own.

    Args:
        parts: what `stream` gives.
        rate: of the waves, in Hz.
    """
    waves_found, words, phones, start = [], [], [], 0.0
    for speech, spoken in parts:
        waves_found.append(faded(speech.wave, rate))
        shifted = [(a + start, b + start, symbol) for a, b, symbol in speech.phones]
        phones += shifted
        sounds = iter(row for row in shifted if row[2] != SILENCE)
        for word in spoken.words:
            inside = [next(sounds) for _ in word.phones]
            words.append(Word(word.text, inside[0][0], inside[-1][1]))
        start = phones[-1][1]
    return Said(np.concatenate(waves_found), words, phones, rate)


def faded(wave: np.ndarray, rate: int) -> np.ndarray:
    """A wave whose ends fade in and out, so that it does not begin with a click."""
    count = min(round(FADE * rate), len(wave) // 2)
    ramp = np.linspace(0.0, 1.0, count, dtype=np.float32)
    result = wave.copy()
    result[:count] *= ramp
    result[len(wave) - count :] *= ramp[::-1]
    return result
