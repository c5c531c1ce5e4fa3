"""Compares discrete units with phones: reads aligned clips and measures codes on their frames."""

import contextlib
import dataclasses
import tempfile

import numpy as np

from uniwav_jax.audio.reader import BadAudioError
from uniwav_jax.data import manifest, partners, sources
from uniwav_jax.errors import UserError
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.measures import bootstrap, codebook_analysis, information
from uniwav_jax.text import textgrid
from uniwav_jax.types import Batch

MAX_MISFIT = 0.5  # seconds between the ends of a clip and of its TextGrid
# Lengths of rows in seconds; one program is compiled for each, and longer clips are cut.
PADDED = (4.0, 8.0, 16.0)

MEASURES = {
    name: getattr(codebook_analysis, name) for name in ("phone_purity", "cluster_purity", "pnmi")
}


@dataclasses.dataclass
class Clips:
    """Speech in batches, and its phones.

    Attributes:
        batches: NumPy batches; each has one of the lengths `PADDED`.
        labels: phones, str [T] for each clip, in the order of the batches' rows; an empty list if
            the clips were read without alignments.
        speakers: of each clip, in the same order; "" where the manifest does not say.
        count: number of clips.
        frames: number of real feature frames.
    """

    batches: list[Batch]
    labels: list[np.ndarray]
    speakers: list[str]
    count: int
    frames: int


def read_clips(
    manifest_path: str,
    alignments: str | None,
    *,
    features: SurfaceFeatures,
    limit: int | None,
    batch_seconds: float,
) -> Clips:
    """Read the clips that have a TextGrid, padded to `PADDED` seconds.

    Args:
        manifest_path: manifest of the clips.
        alignments: folder of TextGrids named by the clips' files; None reads every clip, without
            labels.
        features: the surface features, which give the number of frames of a clip.
        limit: largest number of clips, spread over the manifest; None: all.
        batch_seconds: seconds of audio per batch.

    Raises:
        UserError: no clip has a TextGrid, a file cannot be read, or a clip and its TextGrid differ
            in length.
    """
    rate = features.sample_rate
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest.load(manifest_path, cache=cache)
    rows, grids = list(range(len(corpus))), []
    if alignments is not None:
        grids = partners.match([corpus.name(row) for row in rows], alignments, ".TextGrid")
        rows = [row for row in rows if grids[row]]
    if not rows and alignments is None:
        raise UserError(f"{manifest_path} has no clips")
    if not rows:
        raise UserError(
            f"no clip of {manifest_path} has a TextGrid in {alignments}; they must be named"
            " after the clips' files: NAME.flac, NAME.TextGrid"
        )
    if limit is not None and limit < len(rows):
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, max(limit, 1)).round().astype(int)]
    # Shuffle, so that each batch of the codebook updates has many speakers and texts.
    rows = np.random.default_rng(0).permutation(rows).tolist()

    lengths = corpus.lengths(rate)
    buckets = [round(seconds * rate) for seconds in PADDED]
    by_bucket: dict[int, list[int]] = {}
    for row in rows:
        length = min(int(lengths[row]), buckets[-1])
        by_bucket.setdefault(next(b for b in buckets if b >= length), []).append(row)
    reader = sources.ClipReader(corpus, sample_rate=rate)
    clips = Clips([], [], [], len(rows), 0)
    left, right = features.context
    for bucket, inside in by_bucket.items():
        size = max(1, int(batch_seconds * rate / bucket))
        for first in range(0, len(inside), size):
            audio_BxS = np.zeros((size, left + bucket + right), np.int16)
            samples_B = np.zeros(size, np.int32)
            for place, row in enumerate(inside[first : first + size]):
                try:
                    audio = reader.read(row, start=0, samples=bucket + right)
                except BadAudioError as error:
                    raise UserError(f"{reader.name(row)} {error}") from error
                audio_BxS[place, left:][: len(audio)] = audio
                samples_B[place] = min(len(audio), bucket)
                frames = features.output_length(int(samples_B[place]))
                clips.frames += frames
                clips.speakers.append(corpus.label(row, "speaker"))
                if alignments is not None:
                    intervals = _phones(grids[row], reader.name(row), lengths[row] / rate)
                    labels = textgrid.frame_labels(intervals, frames, features.frame_rate)
                    clips.labels.append(labels)
            clips.batches.append(Batch(audio_BxS, samples_B, np.zeros(size, bool)))
    return clips


def _phones(grid: str, name: str, seconds: float) -> list[tuple[float, float, str]]:
    """Read the phones of a TextGrid as (start, end, phone), in seconds.

    Args:
        grid: path of the TextGrid.
        name: name of the clip, for messages.
        seconds: length of the clip.

    Raises:
        UserError: the TextGrid and the clip differ in length by more than MAX_MISFIT.
    """
    intervals = textgrid.phones(grid)
    if abs(intervals[-1][1] - seconds) > MAX_MISFIT:
        raise UserError(
            f"{grid} ends at {intervals[-1][1]:.2f} s, but {name} at {seconds:.2f} s; align that"
            " file again"
        )
    return intervals


def measure(codes_KxN: np.ndarray, clips: Clips, *, lowest: int) -> list[dict[str, float]]:
    """Measure the codes of each layer against the phones.

    Args:
        codes_KxN: int, K layers, N real frames in the order of `clips.labels`.
        clips: the clips, with labels.
        lowest: number of the first coded layer; layer 0 is the input.

    Returns:
        One dict per coded layer: "layer", the `MEASURES`, "pnmi_shuffled", "active_codewords"; the
        mutual information with phones in nats, "phones_plug_in" and "phones_miller_madow"; and
        where the clips are enough, the one with speakers, "speakers_plug_in",
        "speakers_permutation" and "speakers_two_point" (measures/information.py).
    """
    labels, table = np.concatenate(clips.labels), []
    utterance = np.repeat(np.arange(clips.count), [len(row) for row in clips.labels])
    for layer, codes in enumerate(codes_KxN, lowest):
        joint = codebook_analysis.joint_counts(codes, labels)
        values = {name: of(joint) for name, of in MEASURES.items()}
        values["pnmi_shuffled"] = codebook_analysis.pnmi_shuffled(codes, labels, seed=0)
        values["active_codewords"] = len(np.unique(codes))
        values["phones_plug_in"] = information.mutual_information(joint)
        values["phones_miller_madow"] = information.miller_madow(joint)
        counts = information.utterance_counts(codes, utterance, size=int(codes.max()) + 1)
        with contextlib.suppress(UserError):  # too few utterances, of which `about_speakers` tells
            found = information.speaker_information(counts, np.array(clips.speakers))
            for name in ("plug_in", "permutation", "two_point"):
                values[f"speakers_{name}"] = getattr(found, name)
        table.append({"layer": layer, **values})
    return table


def about_speakers(clips: Clips) -> str:
    """Why information about speakers cannot be measured on these clips; "" if it can."""
    try:
        information.speaker_information(np.ones((clips.count, 1)), np.array(clips.speakers))
    except UserError as error:
        return f"left out: {error}"
    return ""


def compare(codes_KxN: np.ndarray, floor_KxN: np.ndarray, clips: Clips) -> list[dict[str, float]]:
    """95 % intervals of the difference in measures between two sets of codes, by bootstrap.

    The bootstrap resamples clips. The difference is that of `codes_KxN` minus that of `floor_KxN`.

    Args:
        codes_KxN: int, K layers, N real frames in the order of `clips.labels`.
        floor_KxN: the codes to compare with, likewise.
        clips: the clips, with labels.

    Returns:
        One dict per layer: "layer", and for each of the `MEASURES` its "_low" and "_high".
    """
    labels = np.concatenate(clips.labels)
    clip = np.repeat(np.arange(clips.count), [len(row) for row in clips.labels])
    table = []
    for layer, pair in enumerate(zip(codes_KxN, floor_KxN, strict=True), 1):
        counts, floor = (
            codebook_analysis.joint_counts_by_clip(codes, labels, clip) for codes in pair
        )
        table.append({"layer": layer})
        for name, of in MEASURES.items():
            low, high = bootstrap.interval(counts, of, minus=floor)
            table[-1] |= {f"{name}_low": low, f"{name}_high": high}
    return table
