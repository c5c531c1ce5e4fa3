"""Voices: prompts of speech synthesis, with the phones of what is said in them.

    audio, its text  ->  words with phones  ->  times  ->  cut after a word  ->  `speak.Prompt`

The times are those of a recogniser, where there is one:

    letters     the times of words; inside a word its phones are spread by their durations
    phones      the times of phones (ARPAbet, with or without stress)

Without a recogniser all phones are spread over the speech by the durations that the model predicts,
which is an approximation. `save` keeps a voice in a file.
"""

import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from uniwav_jax.errors import UserError
from uniwav_jax.inference import align, waves
from uniwav_jax.inference.recognize import Recognizer
from uniwav_jax.inference.speak import LONGEST, Line, Prompt, Speaker
from uniwav_jax.text import frontend
from uniwav_jax.text.lexicon import without_stress
from uniwav_jax.text.textgrid import SILENCE
from uniwav_jax.tokens import files

SLOWEST, FASTEST = 3.0, 25.0  # phones a second; text with others is not that of the audio
GAP = 0.04  # seconds between two words from which on there is a silence
SUFFIX, SCHEMA = ".npz", 1  # of files of voices
Times = list[list[tuple[float, float]]]  # (start, end) in seconds of each phone of each word


def load(
    speaker: Speaker,
    prompt: Any,
    rate: int | None = None,
    *,
    text: str | None = None,
    language: str = "english",
    recognizer: Recognizer | None = None,
) -> Prompt:
    """The voice of a prompt.

    Args:
        speaker: the model.
        prompt: a `Prompt`, which is left as it is; speech as `inference.waves.blocks` takes it; or
            None for no prompt; or the path of a file that `save` wrote.
        rate: sample rate of an array, in Hz; None: the model's.
        text: what is said in the prompt; None: a recogniser of letters writes it, and without one
            the phones stay unknown.
        language: of the text, see `text.frontend.load`.
        recognizer: gives the times of the words or phones.

    Raises:
        UserError: the prompt cannot be used, the text does not fit it, or the recogniser does not
            know its letters or phones.
    """
    named = f"{prompt}: " if isinstance(prompt, str | os.PathLike) else ""
    if named and pathlib.Path(prompt).suffix == SUFFIX:
        prompt = _read(speaker, prompt)
    if prompt is None or isinstance(prompt, Prompt):
        if text is not None:
            what = "a prompt" if prompt is None else "speech, and this prompt is ready"
            raise UserError(f"{named}a prompt text needs {what}")
        return prompt or speaker.no_prompt()
    blocks = waves.blocks(prompt, rate, sample_rate=speaker.features.sample_rate)
    audio = np.concatenate([np.zeros(0, np.float32), *blocks])
    try:
        if text is None and recognizer is None:
            return speaker.prompt(audio)
        return _with_text(speaker, audio, text, frontend.load(language), recognizer)
    except UserError as error:
        raise UserError(f"{named}{error}") from error


def save(path: str | os.PathLike[str], speaker: Speaker, prompt: Prompt) -> None:
    """Write a voice of the model; the file appears whole or not at all.

    Args:
        path: ends in .npz.
        speaker: the model.
        prompt: what `load` gives.

    Raises:
        UserError: the path has another ending, the voice is empty, or the disk refuses.
    """
    if pathlib.Path(path).suffix != SUFFIX:
        raise UserError(f"{path}: files of voices end in {SUFFIX}")
    if not len(prompt.x_TxC):
        raise UserError(f"{path}: there is no prompt, so there is no voice to save")
    symbols = [speaker.vocabulary.symbol(int(number)) for number in prompt.phones]
    fields = {"schema": SCHEMA, "features": speaker.waveforms.digest, "latents": prompt.x_TxC}
    fields |= {"symbols": np.array(symbols, str), "ends": prompt.ends}
    with files.whole(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **fields, gain=prompt.gain, text=prompt.text)


def _read(speaker: Speaker, path: str | os.PathLike[str]) -> Prompt:
    """A voice that `save` wrote, of a model with the same features."""
    try:
        with np.load(path) as fields:
            schema, features = int(fields["schema"]), str(fields["features"])
            found = {name: fields[name] for name in ("latents", "symbols", "ends")}
            gain, text = float(fields["gain"]), str(fields["text"])
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except Exception as error:  # numpy, zipfile and zlib each raise errors of their own
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise UserError(f"{path} is no voice of --save_voice, or is damaged: {reason}") from error
    if schema != SCHEMA:
        raise UserError(f"{path} has schema {schema}, this version reads {SCHEMA}")
    if features != speaker.waveforms.digest:
        raise UserError(
            f"{path} is a voice for features {features}, but those of this model are"
            f" {speaker.waveforms.digest}; save it again from audio with this model"
        )
    numbers = [speaker.vocabulary.number(str(symbol)) for symbol in found["symbols"]]
    return Prompt(found["latents"], np.array(numbers, np.int32), found["ends"], gain, text)


def _with_text(
    speaker: Speaker,
    audio: np.ndarray,
    text: str | None,
    front_end: frontend.FrontEnd,
    recognizer: Recognizer | None,
) -> Prompt:
    rate = speaker.features.sample_rate
    first, last = speaker.waveforms.voice(audio, LONGEST)
    if text is None:  # nothing beyond is heard
        audio = audio[:last]
    log_probs_TxV = posteriors(recognizer, [audio], rate)[0] if recognizer else None
    if text is None:
        if recognizer.config.text.units != "letters":  # its phones are in no words
            return speaker.prompt(audio)
        text = " ".join(word.text for word in recognizer.greedy(log_probs_TxV)).lower()
        if not text:
            raise UserError("the recogniser hears no word in the prompt; give the prompt's text")
    words = front_end(text).words
    begin, end = (sample / rate for sample in speaker.waveforms.sounding(audio))
    count = sum(len(word.phones) for word in words)
    if not SLOWEST <= count / (end - begin) <= FASTEST:
        raise UserError(
            f"the prompt text has {count} phones for {end - begin:.1f} s of speech; people say"
            f" {SLOWEST:g} to {FASTEST:g} a second, so it is not the text of this audio"
        )
    if recognizer:
        times = _aligned(speaker, recognizer, log_probs_TxV, words)
    else:
        times = _spread(speaker, words, begin, end)
    limit = first / rate + LONGEST
    kept = sum(phones[-1][1] <= limit for phones in times)
    if 0 < kept < len(words):
        cut = round(times[kept - 1][-1][1] * rate)
        words, times, audio = words[:kept], times[:kept], audio[:cut]
    rows = _timeline(speaker, words, times, len(audio) / rate)
    return speaker.prompt(audio, rows, frontend.Speech(words).text)


def posteriors(recognizer: Recognizer, audio: Sequence[np.ndarray], rate: int) -> list[np.ndarray]:
    """What the recogniser hears in each audio, float32 [S] of `rate` Hz: log-probabilities [T, V].

    Raises:
        UserError: an audio is empty.
    """
    own = recognizer.features.sample_rate
    blocks = ((None, waves.blocks(audio_S, rate, sample_rate=own)) for audio_S in audio)
    found = [log_probs_TxV for _, log_probs_TxV in recognizer.run(blocks, few=True)]
    for result in found:
        if isinstance(result, UserError):
            raise result
    return found


def tokens(recognizer: Recognizer, words: tuple[frontend.Word, ...]) -> list[int]:
    """Tokens of the recogniser for words: their letters with spaces, or their phones.

    Raises:
        UserError: the recogniser does not know a letter or phone.
    """
    config, vocabulary = recognizer.config.text, recognizer.vocabulary
    if config.units == "letters":
        text = " ".join(word.text for word in words)
        spelt = [t for t in (text, text.lower(), text.upper()) if vocabulary.count(t) >= 0]
        if not spelt:
            raise UserError(
                f"the recogniser cannot spell {text!r}; its letters are {' '.join(config.symbols)}"
            )
        return vocabulary.encode(spelt[0])
    numbers = {symbol: number for number, symbol in enumerate(config.symbols, start=1)}
    found = []
    for phone in itertools.chain.from_iterable(word.phones for word in words):
        number = numbers.get(phone, numbers.get(without_stress(phone)))
        if number is None:
            raise UserError(
                f"the recogniser has no phone {phone}, so it cannot align the text; its symbols"
                f" are {' '.join(config.symbols)}"
            )
        found.append(number)
    return found


def _aligned(
    speaker: Speaker,
    recognizer: Recognizer,
    log_probs_TxV: np.ndarray,
    words: tuple[frontend.Word, ...],
) -> Times:
    """Times by a recogniser of letters or phones."""
    numbers = tokens(recognizer, words)
    places_Ux2, _ = align.token_times(log_probs_TxV, numbers, recognizer.frame_rate)
    places = iter(places_Ux2.tolist())
    if recognizer.config.text.units != "letters":
        return [[tuple(next(places)) for _ in word.phones] for word in words]
    weights = iter(_weights(speaker, words))
    times = []
    for word in words:
        letters = [next(places) for _ in word.text]
        next(places, None)  # the space
        inside = np.array([next(weights) for _ in word.phones])
        times.append(_shares(inside, letters[0][0], letters[-1][1]))
    return times


def _spread(speaker: Speaker, words: tuple[frontend.Word, ...], begin: float, end: float) -> Times:
    """Times by the predicted durations, scaled so that they fill the seconds from begin to end."""
    symbols = frontend.Speech(words).phones(stress=speaker.config.tts.stress)[1:-1]
    shares = iter(_shares(_weights(speaker, words, pauses=True), begin, end))
    sounds = iter([row for symbol, row in zip(symbols, shares, strict=True) if symbol != SILENCE])
    return [[next(sounds) for _ in word.phones] for word in words]


def _weights(
    speaker: Speaker, words: tuple[frontend.Word, ...], *, pauses: bool = False
) -> np.ndarray:
    """Predicted frames of the words' phones, and of the pauses between them where wanted."""
    spoken = frontend.Speech(words)
    symbols = spoken.phones(stress=speaker.config.tts.stress)
    frames = speaker.durations(Line(symbols, speaker.no_prompt(), text=spoken.text))
    kept = [pauses or symbol != SILENCE for symbol in symbols[1:-1]]
    return frames[1:-1][kept]


def _shares(weights_U: np.ndarray, begin: float, end: float) -> list[tuple[float, float]]:
    """(start, end) of U neighbours that fill the time from `begin` to `end`."""
    ends = begin + np.cumsum(weights_U) / weights_U.sum() * (end - begin)
    return list(itertools.pairwise([begin, *ends.tolist()]))


def _timeline(
    speaker: Speaker, words: tuple[frontend.Word, ...], times: Times, seconds: float
) -> list[tuple[float, float, str]]:
    """(start, end, symbol) without gaps from 0 to `seconds`: phones, and silence between words."""
    rows: list[tuple[float, float, str]] = []
    stress = speaker.config.tts.stress
    for word, phones in zip(words, times, strict=True):
        place = rows[-1][1] if rows else 0.0
        if not rows or phones[0][0] - place >= GAP:
            rows.append((place, phones[0][0], SILENCE))
        for (_, end), symbol in zip(phones, frontend.positioned(word.phones, stress=stress)):
            rows.append((rows[-1][1], end, symbol))
    if seconds - rows[-1][1] >= GAP:
        rows.append((rows[-1][1], seconds, SILENCE))
    return rows
