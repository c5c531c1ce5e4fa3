"""Scores a recogniser on transcribed speech: error rates with and without an n-gram, and speed."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from uniwav_jax.audio import SUFFIXES
from uniwav_jax.audio.reader import read_blocks
from uniwav_jax.errors import UserError
from uniwav_jax.inference import align, recognize
from uniwav_jax.inference.words import LM_WEIGHT, WORD_SCORE
from uniwav_jax.measures import word_error
from uniwav_jax.terminal import progress
from uniwav_jax.text import alphabet


class Scores(NamedTuple):
    """Results of all decodings, and the texts of the one with the lowest word error rate.

    Attributes:
        results: {"command", "clips", "clips_left_out": those without a usable text,
            "clips_unreadable": names of those that cannot be read, "audio_seconds",
            "listening_times_real_time": speed of the model, "decodings": [{settings, "wer",
            "wer_95", "cer", "cer_95", "decoding_times_real_time"}]}. Error rates are shares, speeds
            are seconds of audio per second, and "wer_95" and "cer_95" are 95 % intervals.
        names: names of the clips.
        references: transcripts of the clips, normalised.
        hypotheses: recognised texts.
        alignment: text that shows each reference above its hypothesis.
    """

    results: dict[str, Any]
    names: list[str]
    references: list[str]
    hypotheses: list[str]
    alignment: str


def score(
    recognizer: recognize.Recognizer,
    manifest: str,
    *,
    lm: str | None = None,
    weights: Sequence[float] = (LM_WEIGHT,),
    word_scores: Sequence[float] = (WORD_SCORE,),
    beam: int = 100,
) -> Scores:
    """Compute posteriors once, decode them with all settings, and print the error rates of each.

    Args:
        recognizer: the model.
        manifest: manifest with a column "text", or a folder as `align.pairs` takes it.
        lm: path of an n-gram model of words; None: greedy decoding only.
        weights: weights of the n-gram; each is combined with each word score.
        word_scores: scores added per word; see `recognize.Beam`.
        beam: number of hypotheses that are kept.

    A clip that cannot be read is named and left out.

    Raises:
        UserError: no clip can be read, or there is no text.
    """
    found = align.pairs(manifest, SUFFIXES)
    clips = [clip for clip in found if recognizer.vocabulary.count(clip[2]) > 0]
    left_out = len(found) - len(clips)
    if not clips:
        raise UserError(f"{manifest}: no text consists of the recogniser's symbols")
    rate = recognizer.features.sample_rate
    files = ((n, read_blocks(path, sample_rate=rate)) for n, (path, *_) in enumerate(clips))
    began, posteriors, unreadable = time.perf_counter(), [], {}
    for number, log_probs in progress(recognizer.run(files), len(clips)):
        if isinstance(log_probs, UserError):
            print(f"error: {log_probs}", file=sys.stderr)
            unreadable[number] = clips[number][1]
        else:
            posteriors.append(log_probs)
    clips = [clip for number, clip in enumerate(clips) if number not in unreadable]
    if not clips:
        raise UserError(f"{manifest}: none of its clips can be read")
    references = [alphabet.normalize(line, recognizer.config.text) for *_, line in clips]
    audio = sum(map(len, posteriors)) / recognizer.frame_rate
    speed = round(audio / (time.perf_counter() - began), 1)
    results: dict[str, Any] = {
        "command": " ".join(sys.argv),
        "clips": len(clips),
        "clips_left_out": left_out,
        "clips_unreadable": list(unreadable.values()),
        "audio_seconds": round(audio, 1),
        "listening_times_real_time": speed,
        "decodings": [],
    }
    print(f"{len(clips)} clips, {audio / 60:.1f} min of speech, {speed} times real time")
    if left_out:
        print(
            f"warning: {left_out} of {len(found)} clips are left out, as in training: they have no"
            " text, or symbols that the recogniser does not know"
        )
    best = None
    for settings in decodings(lm, weights, word_scores):
        words_of = recognizer.greedy
        if settings:
            weight, word_score = settings["lm_weight"], settings["word_score"]
            options = {"weight": weight, "word_score": word_score, "width": beam}
            words_of = recognize.Beam(recognizer, lm, **options).words
        began = time.perf_counter()
        texts = [" ".join(word.text for word in words_of(log_probs)) for log_probs in posteriors]
        seconds = time.perf_counter() - began
        words = word_error.words(references, texts)
        row: dict[str, Any] = dict(settings)
        for name, errors in (("wer", words), ("cer", word_error.characters(references, texts))):
            row[name] = round(errors.rate, 4)
            row[f"{name}_95"] = [round(bound, 4) for bound in errors.interval()]
        row["decoding_times_real_time"] = round(audio / seconds, 1)
        results["decodings"].append(row)
        print(json.dumps(row), flush=True)
        if best is None or words.rate < best[1].rate:
            best = row, words, texts
    row, words, texts = best
    print(f"lowest word error rate: {json.dumps(row)}")
    return Scores(results, [name for _, name, _ in clips], references, texts, words.alignment)


def decodings(
    lm: str | None, weights: Sequence[float], word_scores: Sequence[float]
) -> list[dict[str, float]]:
    """The settings of each decoding: {} is greedy; the others are beam searches with the n-gram."""
    if not lm:
        return [{}]
    return [{}, *({"lm_weight": w, "word_score": s} for w in weights for s in word_scores)]
