"""Speech tokens, judged by what is left of speech after them, beside the ceilings.

The rows of the table are

    real          the recordings
    round trip    the recordings through the surface features and back
    unquantised   generated from z, the continuous vectors that the tokens quantise
    1 book, ...   generated from the tokens of the first books
    latents       the surface features themselves in a residual quantiser with as many bits

"unquantised" and the rows of books come with a voice, whose prompt is the first 3 s of speech of
another clip of the speaker (or of the same, where there is none), and without.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from uniwav_jax.api import Model
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codec_table, systems
from uniwav_jax.evaluation import seeds as seeds_lib
from uniwav_jax.evaluation.heard import Heard, notes
from uniwav_jax.evaluation.judges import Judges
from uniwav_jax.evaluation.page import Sound
from uniwav_jax.inference.tokenizer import Source
from uniwav_jax.inference.waveforms import Sampling
from uniwav_jax.measures import bootstrap, information, word_error
from uniwav_jax.models import quantizer
from uniwav_jax.terminal import progress
from uniwav_jax.tokens.tally import Tally

VOICE, LATENTS = ", voice", "latents"
ROUNDS = 30  # of k-means for the residual quantiser of latents
FIT_CLIPS, FIT_FRAMES = 400, 50_000  # of the latents to which it is fitted, at most


@dataclasses.dataclass
class _Clips:
    """What the rows are made of; each list has an entry for each clip."""

    clips: list[systems.Clip]
    codes: list[np.ndarray]
    z: list[np.ndarray]
    voices: list[np.ndarray]


def evaluate(
    model: Model,
    manifest: str,
    judges: Judges,
    *,
    seeds: Sequence[int] = (0,),
    settings: dict[str, Any] | None = None,
    limit: int | None = None,
    fit_manifest: str | None = None,
    rows: Sequence[str] | None = None,
    heard: Heard | None = None,
) -> dict[str, Any]:
    """Judge a model of task tokenizer.

    Args:
        model: the model.
        manifest: of held-out speech with texts and speakers.
        judges: who score.
        seeds: of the noise; the generated rows are repeated with each.
        settings: of `Sampling`, except the seed.
        limit: largest number of clips, spread over the manifest; None: all.
        fit_manifest: speech of other speakers, to which the residual quantiser of the row "latents"
            is fitted; None leaves the row out.
        rows: names of rows of the table; None: all.
        heard: receives the speech of the first clips, with its codes.

    Returns:
        {"clips", "seeds", "payload", "entropy", "run_entropy": bit/s with all books, "prompt":
        bits of a prompt on average, "books": [{"use", "perplexity"}], "rows": {row: {measure:
        {"mean", "low", "high", "clips"}}}, "minus_latents": {generated row: {"mean", "low", "high",
        "clips"} of its word error minus that of "latents", clip by clip}, "each": {row: [scores of
        each clip and seed]}}. The intervals of 95 % are over clips and seeds.

    Raises:
        UserError: no clip can be read, or there is no such row.
    """
    rate, books = model.sample_rate, model.config.tokenizer.books
    kinds = {"real": (), "round trip": (), **_generated(books)}
    if fit_manifest:
        kinds[LATENTS] = ()
    for row in rows or ():
        if row not in kinds:
            more = "" if fit_manifest else " (latents needs fit_manifest)"
            raise UserError(f"there is no row '{row}'; rows are {', '.join(kinds)}{more}")
    kinds = {row: kind for row, kind in kinds.items() if rows is None or row in rows}
    material, tally = _read(model, manifest, limit)
    latents = _fit(model, fit_manifest, books) if LATENTS in kinds else None
    each: dict[str, list[list[dict[str, Any]]]] = {}
    if heard:
        heard.begin([clip.name for clip in material.clips], [clip.text for clip in material.clips])
    for row, kind in kinds.items():
        each[row] = []
        for seed in seeds if kind else seeds[:1]:
            sampling = Sampling(**{**(settings or {}), "seed": seed})
            waves = _waves(model, row, kind, material, sampling, latents)
            pairs = progress(list(zip(material.clips, waves, strict=True)), label=row)
            scores = [
                {"name": clip.name, "seed": seed, **judges.score(clip, wave, sample_rate=rate)}
                for clip, wave in pairs
            ]
            each[row].append(scores)
            if heard and seed == seeds[0]:
                shown = kind[0] if kind else 0
                heard.add(
                    [
                        Sound(
                            row,
                            wave,
                            rate,
                            notes(score),
                            codes=codes[:, :shown] if shown else None,
                            frame_rate=model.frame_rate,
                        )
                        for wave, score, codes in zip(waves, scores, material.codes, strict=True)
                    ]
                )
    prompts = [16 * voice.size for voice in material.voices]
    return {
        "clips": len(material.clips),
        "seeds": list(seeds),
        "payload": tally.payload,
        "entropy": tally.entropy,
        "run_entropy": tally.run_entropy,
        "prompt": float(np.mean(prompts)),
        "books": [
            {"use": information.use(counts), "perplexity": information.perplexity(counts)}
            for counts in tally.counts
        ],
        "rows": {row: seeds_lib.means(runs, judges.names) for row, runs in each.items()},
        "minus_latents": _minus_latents(each, [row for row, kind in kinds.items() if kind]),
        "each": {row: [score for run in runs for score in run] for row, runs in each.items()},
    }


def _minus_latents(
    each: dict[str, list[list[dict[str, Any]]]], generated: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Word error of the generated rows minus that of the row "latents"; see `evaluate`."""
    found = {}
    for row in generated if LATENTS in each else ():
        runs, theirs = each[row], each[LATENTS][0]
        both = [n for n in range(len(theirs)) if all("errors" in run[n] for run in (theirs, *runs))]
        if len(both) > 1:
            ours = [np.array([run[n]["errors"] for n in both], np.float64) for run in runs]
            minus = [np.array([theirs[n]["errors"] for n in both], np.float64)] * len(runs)
            low, high = bootstrap.over_seeds(ours, word_error.rate, minus=minus)
            mean = (low + high) / 2
            found[row] = {"mean": mean, "low": low, "high": high, "clips": len(both)}
    return found


def _generated(books: int) -> dict[str, tuple[int, bool]]:
    """{row: (number of books, or 0 for z; whether with a voice)}."""
    found = {}
    for count in (0, *range(1, books + 1)):
        name = f"{count} book{'s' * (count > 1)}" if count else "unquantised"
        found |= {name + VOICE: (count, True), name: (count, False)}
    return found


def _read(model: Model, manifest: str, limit: int | None) -> tuple[_Clips, Tally]:
    """The clips with their tokens, z and voices, and the counts of their codes."""
    clips, _ = systems.read(manifest, sample_rate=model.sample_rate, limit=limit)
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest_lib.load(manifest, cache=cache)
    speakers = {corpus.name(row): corpus.label(row, "speaker") for row in range(len(corpus))}
    found = _Clips(clips, [], [], [])
    tally = Tally()
    files = [(clip.name, [clip.audio]) for clip in clips]
    for (name, _), (_, result) in zip(files, model.tokenizer.run(files), strict=True):
        if isinstance(result, UserError):
            raise UserError(f"{name}: {result}")
        found.codes.append(result["codes"])
        found.z.append(result["z"])
    for clip, codes in zip(clips, found.codes, strict=True):
        tally.add(model.tokenizer.described(codes, len(clip.audio)))
    by_speaker: dict[str, list[int]] = {}
    for number, clip in enumerate(clips):
        by_speaker.setdefault(speakers[clip.name] or clip.name, []).append(number)
    for number, clip in enumerate(clips):
        same = by_speaker[speakers[clip.name] or clip.name]
        other = clips[same[(same.index(number) + 1) % len(same)]]
        found.voices.append(model.detokenizer.prompt(other.audio))
    return found, tally


def _waves(
    model: Model,
    row: str,
    kind: tuple[int, bool] | tuple[()],
    material: _Clips,
    sampling: Sampling,
    latents: Any,
) -> list[np.ndarray]:
    """The waveform of each clip in one row of the table."""
    waveforms = model.detokenizer.waveforms
    if row == "real":
        return [clip.audio for clip in material.clips]
    if row == "round trip":
        return [waveforms.round_trip(clip.audio) for clip in material.clips]
    if row == LATENTS:
        return [_quantised(model, clip.audio, latents) for clip in material.clips]
    books, with_voice = kind
    sources = [
        Source(
            material.codes[n][:, :books] if books else None,
            len(clip.audio),
            material.voices[n] if with_voice else None,
            z=None if books else material.z[n],
        )
        for n, clip in enumerate(material.clips)
    ]
    return model.detokenizer.speak(sources, sampling)


def _latents_of(model: Model, audio: np.ndarray) -> np.ndarray:
    waveforms = model.detokenizer.waveforms
    return waveforms.latents(np.pad(audio, (0, -len(audio) % waveforms.features.hop)))


def _fit(model: Model, manifest: str, books: int) -> np.ndarray:
    """Codewords of a residual quantiser, float32 [K, V, C], by k-means on N frames of features."""
    clips, _ = systems.read(manifest, sample_rate=model.sample_rate, limit=FIT_CLIPS)
    x_NxC = np.concatenate([_latents_of(model, clip.audio) for clip in clips])
    random = np.random.default_rng(0)
    x_NxC = x_NxC[random.permutation(len(x_NxC))[:FIT_FRAMES]]
    words = min(model.config.tokenizer.codewords, len(x_NxC))
    found, everything = [], np.ones((1, len(x_NxC)), bool)

    @jax.jit
    def moved(book: dict[str, jax.Array], x_1x1xNxC: jax.Array) -> dict[str, jax.Array]:
        codes = quantizer.assign(book, x_1x1xNxC)
        seen = quantizer.statistics(x_1x1xNxC, codes, everything, words)
        return quantizer.update(book, seen, 0.0)

    for _ in range(books):
        book = {"sums": x_NxC[None, :words], "counts": np.ones((1, words), np.float32)}
        for _ in range(ROUNDS):
            book = moved(book, x_NxC[None, None])
        codewords = np.asarray(quantizer.codewords(book))
        x_NxC = x_NxC - codewords[0][np.asarray(quantizer.assign(book, x_NxC[None, None]))[0, 0]]
        found.append(codewords[0])
    return np.stack(found)


def _quantised(model: Model, audio: np.ndarray, words_KxVxC: np.ndarray) -> np.ndarray:
    """A waveform through the residual quantiser of its surface features."""
    x_TxC = _latents_of(model, audio)
    codes = quantizer.encode(words_KxVxC, x_TxC[None])
    return model.detokenizer.waveforms.audio(np.asarray(quantizer.decode(words_KxVxC, codes))[0])


def render(document: dict[str, Any]) -> str:
    """The tables in Markdown."""
    rows = document["rows"]
    found = dict.fromkeys(name for means in rows.values() for name in means)
    columns = [name for name in codec_table.TITLES if name in found]
    cell = functools.partial(codec_table.cell, interval=True)
    lines = [[row, *(cell(means.get(name)) for name in columns)] for row, means in rows.items()]
    table = codec_table.table(["row", *(codec_table.TITLES[name] for name in columns)], lines)
    books = "; ".join(
        f"book {number}: {100 * book['use']:.0f} % of the codewords used, perplexity"
        f" {book['perplexity']:.0f}"
        for number, book in enumerate(document["books"], start=1)
    )
    less = "".join(
        f"Word error of {row} minus that of {LATENTS}: {cell(value)}.\n\n"
        for row, value in document["minus_latents"].items()
    )
    return (
        f"{table}\n\n{less}"
        f"Payload {document['payload']:.0f}, entropy {document['entropy']:.0f}, runs"
        f" {document['run_entropy']:.0f} bit/s; {books}. A voice has {document['prompt']:.0f} bits"
        f" beside them. {document['clips']} clips; noise seeds"
        f" {', '.join(map(str, document['seeds']))}; 95 % intervals over clips and seeds.\n"
    )
