"""The three measures of a codec: reconstruction, generation, representation.

A latent space has to be good for all three. Reconstruction limits the quality of generated speech,
but ranks codecs differently from the speech that a model generates in their latents, and from the
phones that clusters of their latents show.
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import (
    generation,
    judges,
    pretraining,
    representation,
    roundtrip,
    speech_frames,
)
from uniwav_jax.evaluation.judges import Judges
from uniwav_jax.evaluation.speech_frames import Speech
from uniwav_jax.evaluation.systems import MEL, Clip, System, read
from uniwav_jax.measures.signal import Mean

MFCC = "mfcc39"
MEASURES = ("reconstruction", "generation", "representation")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured, and on which speech.

    Attributes:
        manifest: of the clips, with texts.
        measures: some of `MEASURES`.
        train_manifest: speech of other speakers, on which the flow model is trained and clusters
            are fitted; None: no generation.
        alignments: folder of TextGrids; None: no representation.
        aligned_manifest: of the clips that have TextGrids; None: `manifest`.
        noises: strengths of the noise on the latents, in standard deviations.
        codebooks: number of codebooks; if it is not 0, codecs with at least this number are also
            scored with latents that these quantise.
        limit: largest number of clips of `manifest`; None: all.
        aligned_limit: largest number of aligned clips; None: all.
        train_limit: largest number of clips of `train_manifest`; None: all.
        updates: of the flow model.
        pretrain_updates: of an encoder that is pretrained on each system's frames, whose layers'
            representation is measured too; 0: none.
        whisper: name or folder of the recogniser.
        seed: of noise, weights, crops and first codewords.
    """

    manifest: str
    measures: Sequence[str] = MEASURES
    train_manifest: str | None = None
    alignments: str | None = None
    aligned_manifest: str | None = None
    noises: Sequence[float] = roundtrip.NOISES
    codebooks: int = 0
    limit: int | None = None
    aligned_limit: int | None = None
    train_limit: int | None = None
    updates: int = generation.Probe.updates
    pretrain_updates: int = 0
    whisper: str = judges.WHISPER
    seed: int = 0


def evaluate(codecs: Sequence[str], settings: Settings) -> tuple[dict[str, Any], list[UserError]]:
    """Measure all systems. What lacks its data is left out, and stderr states what it needs.

    Args:
        codecs: codec folders, and "mel" for log-mel with Griffin-Lim.
        settings: what is measured.

    Returns:
        The document that `codec_table` shows: {"settings", "notes", "unreadable", "original":
        {measure: mean}, "systems": {name: {"digest", "channels", "frame_rate", "reconstruction":
        {condition: {measure: mean}}, "generation", "representation": {measure: mean}, "seconds":
        {measure: CPU time}, "clips": {condition: scores of each clip}}}}, where a mean is {"mean",
        "low", "high", "clips", "of"}; and the errors of clips that cannot be read. Log-mel and
        MFCC39 are always among the systems whose representation is measured.

    Raises:
        UserError: an unknown measure, no such codec or manifest, or no clip could be read.
    """
    for name in settings.measures:
        if name not in MEASURES:
            raise UserError(f"unknown measure {name}; known are: {', '.join(MEASURES)}")
    systems = [System(name) for name in dict.fromkeys(codecs)]
    notes = _Notes()
    wanted = [name for name in MEASURES if name in settings.measures]
    for name, given, option in (
        ("generation", settings.train_manifest, "--train_manifest, speech of other speakers"),
        ("representation", settings.alignments, "--alignments, a folder of TextGrids"),
    ):
        if name in wanted and not given:
            notes.add(f"{name} is left out: it needs {option}")
            wanted.remove(name)
    rows: dict[str, dict[str, Any]] = {}
    document = {
        "settings": dataclasses.asdict(settings),
        "notes": notes.lines,
        "unreadable": [],
        "systems": rows,
    }
    for system in systems:
        rows[system.name] = {
            "digest": system.digest,
            "channels": system.features.channels,
            "frame_rate": system.features.frame_rate,
            "seconds": {},
            "clips": {},
        }

    errors: list[UserError] = []
    by_rate: dict[int, list[Clip]] = {}
    jury = Judges(None, None)
    if {"reconstruction", "generation"} & set(wanted):
        jury, absent = judges.load(settings.whisper)
        for line in absent:
            notes.add(line)
        for rate in sorted({system.features.sample_rate for system in systems}):
            by_rate[rate], errors = read(settings.manifest, sample_rate=rate, limit=settings.limit)
        document["unreadable"] = [str(error) for error in errors]
        rate, clips = next(iter(by_rate.items()))
        scored = [jury.score(clip, clip.audio, sample_rate=rate) for clip in clips]
        document["original"] = _plain(jury.means(scored))
    floors = [System(MEL)] if "representation" in wanted and MEL not in rows else []
    for system in (*systems, *floors):
        row = rows.setdefault(system.name, {"seconds": {}, "clips": {}})
        clips = by_rate.get(system.features.sample_rate, [])
        if clips and not system.decodes:
            notes.add(f"{system.name} has no decoder: only its representation is measured")
        if "reconstruction" in wanted and system.decodes and system in systems:
            _reconstruct(system, clips, jury, row, settings, notes)
        generates = "generation" in wanted and system.decodes and system in systems
        if not generates and "representation" not in wanted:
            continue
        speech = None
        if settings.train_manifest:
            with _clock(row, "frames of the training speech"):
                path, most = settings.train_manifest, settings.train_limit
                speech = speech_frames.read(system, path, limit=most)
        if generates:
            _generate(system, clips, jury, row, speech, settings)
        if "representation" in wanted:
            _represent(system, rows, speech, settings)
    return document, errors


def _reconstruct(
    system: System,
    clips: Sequence[Clip],
    jury: Judges,
    row: dict[str, Any],
    settings: Settings,
    notes: "_Notes",
) -> None:
    codebooks = settings.codebooks
    if codebooks > system.codebooks:
        notes.add(f"{system.name} has {system.codebooks} codebooks, not {codebooks}")
        codebooks = 0
    options = {"noises": settings.noises, "codebooks": codebooks, "seed": settings.seed}
    with _clock(row, "reconstruction"):
        means, scores = roundtrip.measure(system, clips, jury, **options)
    row["reconstruction"] = {condition: _plain(part) for condition, part in means.items()}
    row["clips"].update(scores)


def _generate(
    system: System,
    clips: Sequence[Clip],
    jury: Judges,
    row: dict[str, Any],
    speech: Speech,
    settings: Settings,
) -> None:
    options = {"probe": generation.Probe(updates=settings.updates), "seed": settings.seed}
    with _clock(row, "training of the flow model"):
        trained = generation.train(system, speech, **options)
    with _clock(row, "generation"):
        means, scores = generation.measure(system, clips, jury, trained, **options)
    row["generation"], row["clips"]["generation"] = _plain(means), scores
    row["generation_losses"] = [round(float(loss), 4) for loss in trained.losses]


def _represent(
    system: System, rows: dict[str, Any], other: Speech | None, settings: Settings
) -> None:
    """Measure a system's frames, and for log-mel also MFCC39."""
    path = settings.aligned_manifest or settings.manifest
    params = other and other.params
    options = {"alignments": settings.alignments, "limit": settings.aligned_limit}
    with _clock(rows[system.name], "representation"):
        aligned = speech_frames.read(system, path, params=params, **options)
        means = representation.measure(system, aligned, other, seed=settings.seed)
    rows[system.name]["representation"] = _plain(means)
    if settings.pretrain_updates and settings.train_manifest:
        with _clock(rows[system.name], "pretraining"):
            means = pretraining.measure(
                system,
                settings.train_manifest,
                path,
                settings.alignments,
                updates=settings.pretrain_updates,
                limit=settings.aligned_limit,
                seed=settings.seed,
            )
        rows[system.name]["representation"] |= _plain(means)
    if system.name == MEL:
        row = rows.setdefault(MFCC, {"seconds": {}, "clips": {}})
        with _clock(row, "representation"):
            options = {"cepstra": True, "seed": settings.seed}
            row["representation"] = _plain(
                representation.measure(system, aligned, other, **options)
            )


def _plain(means: dict[str, Mean]) -> dict[str, dict[str, Any]]:
    return {name: dataclasses.asdict(mean) for name, mean in means.items()}


class _Notes:
    """Lines that are printed on stderr and kept for the document."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)
        print(f"note: {line}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _clock(row: dict[str, Any], name: str) -> Iterator[None]:
    """Measure the CPU time of all threads, compilation included."""
    before = _cpu()
    yield
    row["seconds"][name] = round(_cpu() - before, 1)
    print(f"{name}: {row['seconds'][name]} s", file=sys.stderr, flush=True)


def _cpu() -> float:
    """CPU time of this process and of those that it waited for, in seconds."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
