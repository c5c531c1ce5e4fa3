"""Do the codewords mean phones?

    python tools/probe_codewords.py WORKDIR --manifest manifest.tsv --alignments FOLDER

Every clip of the manifest with a FOLDER/<its file's stem>.TextGrid (tier "phones") goes unmasked
through the networks of a pretraining checkpoint. The tool prints purities and mutual information of
codes and phones, silence included (see uniwav_jax/evaluation/codebook_analysis.py):

- codebooks of the run: the codes that the student has to predict in training, per predicted layer.
- For the trained encoder, for its teacher and, with --untrained, for the same network with fresh
  weights, the floor to beat: as many new codewords per layer, which start at frames of this
  speech and are fitted to it by training's codebook updates, for
    feed_forward  each layer's feed-forward output, instance-normalised: what training clusters
    states        each layer's output h_l, LayerNorm without affine: what z mixes and what units of
                  a speech tokenizer are made of

Compare within these: nearly all of their codewords are in use. With --untrained follow intervals of
encoder less untrained, by bootstrap over the clips; repeating with another --seed of fresh weights
and first codewords shows what else is chance.

--out writes {"codebooks": [layers], "encoder", "teacher", "untrained": {"feed_forward": [layers],
"states": [layers]}, "encoder_minus_untrained": likewise, "clips", "frames", "step", "updates",
"seed"} where a layer is {"layer", "phone_purity", "cluster_purity", "pnmi", "pnmi_shuffled",
"active_codewords"}, or of a difference {"layer", "pnmi_low", "pnmi_high", ...}.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax.config import Config
from uniwav_jax.data import manifest, sources
from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.evaluation import bootstrap, codebook_analysis, textgrid
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.models import codebooks, layers, masking, uniwav
from uniwav_jax.tasks import pretrain
from uniwav_jax.train import checkpoint, step
from uniwav_jax.types import Batch, PyTree

MAX_MISFIT = 0.5  # seconds between the ends of a clip and of its TextGrid
PADDED = (4.0, 8.0, 16.0)  # seconds; each is compiled once, longer clips are cut

FIT_DECAY = 0.9  # of new codebooks, whatever the run's own decay is: runs compare
KINDS = ("feed_forward", "states")
MEASURES = {
    name: getattr(codebook_analysis, name) for name in ("phone_purity", "cluster_purity", "pnmi")
}

Read = Callable[[PyTree, str, Batch], tuple[jax.Array, jax.Array]]


@dataclasses.dataclass
class Clips:
    """Aligned speech as batches, and the phones that go with it.

    Attributes:
        batches: rows of one padded length each, numpy; one shape per length.
        labels: str [frames] for each clip, in the order of the batches' rows.
        count: clips.
    """

    batches: list[Batch]
    labels: list[np.ndarray]
    count: int


def main(argv: list[str]) -> int:
    """Load, probe, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdir", help="a pretraining run, or one of its step folders")
    parser.add_argument("--manifest", required=True, help="of tools/build_manifest.py")
    parser.add_argument("--alignments", required=True, help="folder of TextGrids")
    parser.add_argument("--untrained", action="store_true", help="also probe fresh weights")
    parser.add_argument("--updates", type=int, default=50, help="that fit new codebooks")
    parser.add_argument("--seed", type=int, default=0, help="of fresh weights and codewords")
    parser.add_argument("--limit", type=int, help="clips at most, spread over the manifest")
    parser.add_argument("--batch_seconds", type=float, default=60.0)
    parser.add_argument("--out", help="JSON file to write")
    args = parser.parse_args(argv)

    parts, meta = checkpoint.load_numpy(args.workdir, ("task", "features", "params"))
    if "codebooks" not in parts["task"]:
        raise UserError(f"{args.workdir} holds no codebooks; give a pretraining run")
    config = config_lib.from_dict(meta["config"])
    features = features_lib.build(config.features)
    clips = read_clips(
        args.manifest,
        args.alignments,
        features=features,
        limit=args.limit,
        batch_seconds=args.batch_seconds,
    )
    read = make_read(config, features, parts["features"])
    teacher, books = parts["task"]["teacher"], parts["task"]["codebooks"]
    encoders = {"encoder": parts["params"]["encoder"], "teacher": teacher}
    if args.untrained:
        init = jax.jit(pretrain.init, static_argnums=(1, 2))
        fresh, _ = init(jax.random.key(args.seed), config, features.channels)
        encoders["untrained"] = fresh["encoder"]

    result: dict[str, Any] = {
        "clips": clips.count,
        "frames": sum(map(len, clips.labels)),
        "step": int(meta["step"]),
        "updates": args.updates,
        "seed": args.seed,
    }
    print(", ".join(f"{name} {value}" for name, value in result.items()))
    codes_KxN = encode(functools.partial(read, teacher, "feed_forward"), books, clips)
    lowest = config.model.encoder.layers - len(codes_KxN) + 1
    result["codebooks"] = measure(codes_KxN, clips, lowest=lowest)
    show("codebooks of the run", result["codebooks"])
    words = config.distillation.codewords
    codes: dict[tuple[str, str], np.ndarray] = {}
    for name, encoder in encoders.items():
        result[name] = {}
        for kind in KINDS:
            layers_of = functools.partial(read, encoder, kind)
            fitted = fit(layers_of, clips, updates=args.updates, seed=args.seed, words=words)
            codes[name, kind] = encode(layers_of, fitted, clips)
            result[name][kind] = measure(codes[name, kind], clips, lowest=1)
            show(f"{name}, {kind}", result[name][kind])
    if args.untrained:
        result["encoder_minus_untrained"] = {}
        for kind in KINDS:
            table = compare(codes["encoder", kind], codes["untrained", kind], clips)
            result["encoder_minus_untrained"][kind] = table
            show(f"encoder less untrained, {kind}: 95 % intervals", table)
    if args.out:
        out = pathlib.Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def read_clips(
    manifest_path: str,
    alignments: str,
    *,
    features: SurfaceFeatures,
    limit: int | None,
    batch_seconds: float,
) -> Clips:
    """Read the clips that have a TextGrid, padded to `PADDED` seconds.

    Raises:
        UserError: no clip has one, a file cannot be read, or the two differ in length.
    """
    rate = features.sample_rate
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest.load(manifest_path, cache=cache)
    grids = {grid.stem: str(grid) for grid in pathlib.Path(alignments).glob("*.TextGrid")}
    rows = [row for row in range(len(corpus)) if pathlib.Path(corpus.name(row)).stem in grids]
    if not rows:
        raise UserError(
            f"no clip of {manifest_path} has a TextGrid in {alignments}; they must be named"
            " by the clip's file: NAME.flac, NAME.TextGrid"
        )
    if limit is not None and limit < len(rows):
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, max(limit, 1)).round().astype(int)]
    # Mixed, so that each batch of the codebook updates holds many speakers and texts.
    rows = np.random.default_rng(0).permutation(rows).tolist()

    lengths = corpus.lengths(rate)
    buckets = [round(seconds * rate) for seconds in PADDED]
    by_bucket: dict[int, list[int]] = {}
    for row in rows:
        length = min(int(lengths[row]), buckets[-1])
        by_bucket.setdefault(next(b for b in buckets if b >= length), []).append(row)
    reader = sources.ClipReader(corpus, sample_rate=rate)
    clips = Clips([], [], len(rows))
    for bucket, inside in by_bucket.items():
        size = max(1, int(batch_seconds * rate / bucket))
        for first in range(0, len(inside), size):
            left, right = features.context
            audio_BxS = np.zeros((size, left + bucket + right), np.int16)
            samples_B = np.zeros(size, np.int32)
            for place, row in enumerate(inside[first : first + size]):
                grid = grids[pathlib.Path(corpus.name(row)).stem]
                intervals = textgrid.phones(grid)
                if abs(intervals[-1][1] - lengths[row] / rate) > MAX_MISFIT:
                    raise UserError(
                        f"{grid} ends at {intervals[-1][1]:.2f} s, {reader.name(row)} at"
                        f" {lengths[row] / rate:.2f} s; align that file again"
                    )
                try:
                    audio = reader.read(row, start=0, samples=bucket + right)
                except sources.BadAudioError as error:
                    raise UserError(f"{reader.name(row)} {error}") from error
                audio_BxS[place, left:][: len(audio)] = audio
                samples_B[place] = min(len(audio), bucket)
                frames = features.output_length(int(samples_B[place]))
                clips.labels.append(textgrid.frame_labels(intervals, frames, features.frame_rate))
            clips.batches.append(Batch(audio_BxS, samples_B, np.zeros(size, bool)))
    return clips


def make_read(config: Config, features: SurfaceFeatures, feature_params: PyTree) -> Read:
    """Compile `(encoder, kind, batch) -> layers float32 [L, B, T, D], real frames bool [B, T]`."""

    @functools.partial(jax.jit, static_argnums=1)
    def read(encoder: PyTree, kind: str, batch: Batch) -> tuple[jax.Array, jax.Array]:
        x_BxTxC, frames_B = step.surface(batch, feature_params, features)
        mask_BxT = masking.frame_mask(frames_B, x_BxTxC.shape[1])
        seen = uniwav.encoder_module(config).apply({"params": encoder}, x_BxTxC, mask_BxT)
        if kind == "feed_forward":
            return codebooks.instance_norm(seen.feed_forward, mask_BxT)[0], mask_BxT
        return layers.plain_layer_norm(seen.states), mask_BxT

    return read


@jax.jit
def assign(books: PyTree, layers_LxBxTxD: jax.Array) -> jax.Array:
    """Codes of the top layers, as many as there are codebooks; int32 [K, B, T]."""
    return codebooks.assign(books, layers_LxBxTxD[-len(books["counts"]) :])


def encode(read: Callable[..., tuple], books: PyTree, clips: Clips) -> np.ndarray:
    """Code all clips by the top layers' codebooks; int32 [K, real frames]."""
    per_row = []
    for batch in clips.batches:
        layers_LxBxTxD, mask_BxT = read(batch)
        codes_KxBxT, mask_BxT = jax.device_get((assign(books, layers_LxBxTxD), mask_BxT))
        per_row.append(codes_KxBxT[:, mask_BxT])
    return np.concatenate(per_row, axis=1)


def measure(codes_KxN: np.ndarray, clips: Clips, *, lowest: int) -> list[dict[str, float]]:
    """One dict of measures per coded layer; the first is layer `lowest`, counted from 1."""
    labels, table = np.concatenate(clips.labels), []
    for layer, codes in enumerate(codes_KxN, lowest):
        joint = codebook_analysis.joint_counts(codes, labels)
        values = {name: of(joint) for name, of in MEASURES.items()}
        values["pnmi_shuffled"] = codebook_analysis.pnmi_shuffled(codes, labels, seed=0)
        table.append({"layer": layer, **values, "active_codewords": len(np.unique(codes))})
    return table


def compare(codes_KxN: np.ndarray, floor_KxN: np.ndarray, clips: Clips) -> list[dict[str, float]]:
    """Bounds of what `codes` have over `floor` with 95 %, by bootstrap over the clips."""
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


def fit(read: Callable[..., tuple], clips: Clips, *, updates: int, seed: int, words: int) -> PyTree:
    """One codebook a layer: starts at random frames of a batch, then `updates` codebook updates."""

    @jax.jit
    def update(books: PyTree, layers_LxBxTxD: jax.Array, mask_BxT: jax.Array) -> PyTree:
        codes = codebooks.assign(books, layers_LxBxTxD)
        seen = codebooks.statistics(layers_LxBxTxD, codes, mask_BxT, words)
        return codebooks.update(books, seen, FIT_DECAY)

    key, order = jax.random.key(seed), np.random.default_rng(seed)
    layers_LxBxTxD, mask_BxT = read(clips.batches[0])
    count, *_, width = layers_LxBxTxD.shape
    books = codebooks.init(key, books=count, codewords=words, width=width)
    books = codebooks.start_at_frames(books, key, layers_LxBxTxD, mask_BxT)
    for index in range(updates):
        if index % len(clips.batches) == 0:
            pass_order = order.permutation(len(clips.batches))
        books = update(books, *read(clips.batches[pass_order[index % len(clips.batches)]]))
    return books


def show(title: str, table: list[dict[str, float]]) -> None:
    """Print one table."""
    print(title)
    print("  " + "  ".join(f"{name:>16}" for name in table[0]))
    for layer in table:
        cells = (f"{v:16.4f}" if isinstance(v, float) else f"{v:16d}" for v in layer.values())
        print("  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    run_tool(main)
