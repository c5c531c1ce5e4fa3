"""Text-to-speech, judged: word error, similarity to the prompt, loudness, beside real speech.

Each clip of a manifest with phones is spoken with another clip of its speaker as the prompt (the
cross-sentence protocol), or with the prompts of a list (data/speech_list.py). Where the prompt is
the clip's own beginning, the words are those of the whole clip, which begins with the recording;
similarity and loudness are those of the rest. Without aligned phones, of a speaker that nobody
aligned, the text front end gives them, and there is no row oracle. The rows of the table are

    real        the recordings
    round trip  the recordings through the surface features and back
    oracle      generated, with the durations of the recordings (the paper's protocol)
    predicted   generated, with durations of the model
    even        generated, with the predicted length spread evenly over the phones
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from uniwav_jax.audio.reader import BadAudioError
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data import sources
from uniwav_jax.data.phone_labels import ADVICE, COLUMNS
from uniwav_jax.data.speech_list import PROMPT, PROMPT_COLUMNS
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codec_table, systems
from uniwav_jax.evaluation import seeds as seeds_lib
from uniwav_jax.evaluation.heard import Heard, notes
from uniwav_jax.evaluation.judges import Judges
from uniwav_jax.evaluation.page import Sound
from uniwav_jax.inference import speak, waves
from uniwav_jax.terminal import progress
from uniwav_jax.text import frontend

ROWS = ("real", "round trip", "oracle", "predicted", "even")
GENERATED = ROWS[2:]
MEASURES = ("word_error", "speaker_cosine", "loudness_db")
HEARD = ROWS[:4]  # the rows on a page


class Source(NamedTuple):
    """A clip with its phones.

    Attributes:
        clip: name, audio and text.
        phones: (start, end, symbol) in seconds; empty if the manifest has no phones.
        start: samples at the clip's beginning that are its prompt.
    """

    clip: systems.Clip
    phones: list[tuple[float, float, str]]
    start: int = 0


def _spans(phones: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Phones without their position in the word."""
    return [(start, end, symbol.partition("_")[0]) for start, end, symbol in phones]


def evaluate(
    speaker: speak.Speaker,
    corpus: manifest_lib.Manifest,
    judges: Judges,
    *,
    rows: Sequence[str] = ROWS,
    seeds: Sequence[int] = (0,),
    settings: dict[str, Any] | None = None,
    limit: int | None = None,
    heard: Heard | None = None,
) -> dict[str, Any]:
    """Judge a model of task tts.

    Args:
        speaker: the model.
        corpus: manifest with phones, texts and speakers.
        judges: who score.
        rows: some of `ROWS`.
        seeds: of the noise; the generated rows are repeated with each.
        settings: of `speak.Settings`, except the seed.
        limit: largest number of clips, spread over the manifest; None: all.
        heard: receives the speech of the first clips.

    Returns:
        {"clips", "seeds", "rows": {row: {"word_error", "speaker_cosine", "loudness_db": {"mean",
        "low", "high"}}}, "each": {row: [scores of each clip and seed]}}. The intervals of 95 % are
        over clips and seeds; "loudness_db" is the mean absolute difference to the prompt's level.

    Raises:
        UserError: the row oracle needs phones that the manifest does not have, or a speaker has
            one clip only.
    """
    if "oracle" in rows and not set(COLUMNS) <= set(corpus.more):
        raise UserError(
            f"{corpus.source} has no phones; {ADVICE}, or evaluate the rows"
            f" {', '.join(row for row in rows if row != 'oracle')} only"
        )
    clips, prompts = pairs(speaker, corpus, limit)
    rate = speaker.features.sample_rate
    each: dict[str, list[list[dict[str, Any]]]] = {}
    if heard:
        heard.begin([s.clip.name for s in clips], [s.clip.text for s in clips])
        heard.add([Sound("prompt", p.clip.audio, rate, spans=_spans(p.phones)) for p in prompts])
    for row in rows:
        each[row] = []
        for seed in seeds if row in GENERATED else seeds[:1]:
            chosen = speak.Settings(**{"durations": "model", **(settings or {}), "seed": seed})
            spoken = _spoken(speaker, row, clips, prompts, chosen)
            scores = []
            judged = progress(list(zip(clips, prompts, spoken, strict=True)), label=row)
            for (clip, _, start), (prompt, *_), speech in judged:
                found = judges.understood(clip.text, speech.wave, sample_rate=rate)
                wave = speech.wave[start:]
                found |= judges.similar(prompt, wave, sample_rate=rate)
                found["loudness_db"] = abs(_level(wave) - _level(prompt.audio))
                scores.append({"name": clip.name, "seed": seed, **found})
            each[row].append(scores)
            if heard and row in HEARD and seed == seeds[0]:
                heard.add(
                    [
                        Sound(row, said.wave, rate, notes(score), spans=_spans(said.phones))
                        for said, score in zip(spoken, scores, strict=True)
                    ]
                )
    means = {row: seeds_lib.means(runs, MEASURES) for row, runs in each.items()}
    flat = {row: [score for scores in runs for score in scores] for row, runs in each.items()}
    return {"clips": len(clips), "seeds": list(seeds), "rows": means, "each": flat}


def pairs(
    speaker: speak.Speaker, corpus: manifest_lib.Manifest, limit: int | None
) -> tuple[list[Source], list[Source]]:
    """The clips, and for each its prompt: that of the list, or of the speaker's next clip; 3 s.

    Raises:
        UserError: a list has no phones, a clip cannot be read, or a speaker has one clip.
    """
    listed = PROMPT_COLUMNS[0] in corpus.more
    if listed and not {*COLUMNS, *PROMPT_COLUMNS} <= set(corpus.more):
        raise UserError(f"{corpus.source} has no phones; {ADVICE}")
    rows = list(range(len(corpus)))
    if limit is not None and limit < len(rows):
        rows = np.linspace(0, len(rows) - 1, max(limit, 1)).round().astype(int).tolist()
    by_speaker: dict[str, list[int]] = {}
    for row in range(len(corpus)):
        by_speaker.setdefault(corpus.label(row, "speaker"), []).append(row)
    rate = speaker.features.sample_rate
    reader = sources.ClipReader(corpus, sample_rate=rate)
    lengths = corpus.lengths(rate)

    def read(row: int, samples: int) -> Source:
        try:
            audio = reader.read(row, start=0, samples=samples).astype(np.float32) / 32768.0
        except BadAudioError as error:
            raise UserError(f"{reader.name(row)} {error}") from error
        phones = _phones(corpus, row, *COLUMNS)
        name = corpus.name(row) if samples == lengths[row] else f"{corpus.name(row)} (prompt)"
        return Source(systems.Clip(name, audio, corpus.label(row, "text")), phones)

    def prompt_of(row: int) -> Source:
        name, *columns = PROMPT_COLUMNS
        path = os.path.join(corpus.folder, corpus.label(row, name))
        blocks = waves.blocks(path, None, sample_rate=rate)
        audio = np.concatenate(list(blocks))[: round(PROMPT * rate)]
        clip = systems.Clip(f"{corpus.label(row, name)} (prompt)", audio, "")
        return Source(clip, _phones(corpus, row, *columns[1:]))

    clips, prompts = [], []
    for row in rows:
        if listed:
            prompts.append(prompt_of(row))
            own = corpus.label(row, PROMPT_COLUMNS[0]) == corpus.name(row)
            start = len(prompts[-1].clip.audio) if own else 0
            clips.append(read(row, int(lengths[row]))._replace(start=start))
            continue
        same = by_speaker[corpus.label(row, "speaker")]
        if len(same) < 2:
            raise UserError(
                f"{corpus.source}: speaker {corpus.label(row, 'speaker')!r} has one clip; another"
                " one is needed as the prompt"
            )
        other = same[(same.index(row) + 1) % len(same)]
        clips.append(read(row, int(lengths[row])))
        prompts.append(read(other, min(round(PROMPT * rate), int(lengths[other]))))
    return clips, prompts


def _phones(
    corpus: manifest_lib.Manifest, row: int, symbols: str, ends: str
) -> list[tuple[float, float, str]]:
    """(start, end, symbol) in seconds, of two columns; empty without them."""
    if symbols not in corpus.more:
        return []
    times = [float(end) for end in corpus.label(row, ends).split()]
    names = corpus.label(row, symbols).split()
    return list(zip([0.0, *times[:-1]], times, names, strict=True))


def _spoken(
    speaker: speak.Speaker,
    row: str,
    clips: Sequence[Source],
    prompts: Sequence[Source],
    settings: speak.Settings,
) -> list[speak.Speech]:
    """Waveform and phones of each clip in one row of the table."""
    if row in ("real", "round trip"):
        change = speaker.waveforms.round_trip if row == "round trip" else np.asarray
        return [speak.Speech(change(clip.audio), phones) for clip, phones, _ in clips]
    rate, lines = speaker.features.frame_rate, []
    for source, prompt in zip(clips, prompts, strict=True):
        begin = source.start / speaker.features.sample_rate
        new = [(end - begin, symbol) for _, end, symbol in source.phones]
        new = [(end, symbol) for end, symbol in new if round(end * rate) > 0]
        symbols = [symbol for _, symbol in new]
        ends = np.round([end * rate for end, _ in new]).astype(int)
        if not source.phones:
            spoken = frontend.load("english")(source.clip.text)
            symbols = spoken.phones(stress=speaker.config.tts.stress)
        voice = speaker.prompt(prompt.clip.audio, prompt.phones)
        line = speak.Line(symbols, voice, np.diff(ends, prepend=0))
        if row != "oracle":
            frames = speaker.durations(dataclasses.replace(line, frames=None), settings)
            if row == "even":
                frames = speak.evenly(len(frames), frames.sum())
            line = dataclasses.replace(line, frames=frames)
        lines.append(line)
    made = speaker.speak(lines, settings)
    return [_whole(*pair, speaker.features.sample_rate) for pair in zip(clips, made, strict=True)]


def _whole(source: Source, speech: speak.Speech, rate: int) -> speak.Speech:
    """A continuation after the recording that it continues; other speech as it is."""
    if not source.start:
        return speech
    begin = source.start / rate
    phones = [(a, min(b, begin), symbol) for a, b, symbol in source.phones if a < begin]
    phones += [(a + begin, b + begin, symbol) for a, b, symbol in speech.phones]
    before = source.clip.audio[: source.start]
    return speak.Speech(np.concatenate([before, speech.wave]), phones)


def _level(wave: np.ndarray) -> float:
    """Root mean square in decibels."""
    return 20.0 * float(np.log10(max(np.sqrt(np.mean(np.square(wave))), 1e-5)))


def render(document: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = [
        [row, *(codec_table.cell(means.get(name), interval=True) for name in MEASURES)]
        for row, means in document["rows"].items()
    ]
    head = ["row", "word error", "speaker cosine to the prompt", "loudness, dB from the prompt"]
    seeds = ", ".join(map(str, document["seeds"]))
    note = f"{document['clips']} clips; noise seeds {seeds}; 95 % intervals over clips and seeds."
    return f"{codec_table.table(head, lines)}\n\n{note}\n"
