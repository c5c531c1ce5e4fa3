"""Do the codewords mean phones?

    python tools/probe_codewords.py WORKDIR --manifest manifest.tsv --alignments FOLDER

Every clip of the manifest with a FOLDER/<its file's stem>.TextGrid (tier "phones") goes unmasked
through the teacher and the codebooks of a pretraining checkpoint, as in training; clips longer
than the longest bucket are cut to it. For each predicted layer the tool prints purities and mutual
information of codes and phones, silence included (see uniwav_jax/evaluation/codebook_analysis.py):
first with the teacher and codebooks of the run; then with new codebooks, which start at frames of
this speech and are fitted to it by training's codebook updates, so that nearly all are in use: for
the teacher, and for the trained encoder itself in the teacher's place. With --untrained also the
floor to beat, the same network with fresh weights: with fresh codebooks; with these fitted
likewise, many of them never hit; and with codebooks refitted from frames as above. Compare like
with like: refitted with refitted, or equal numbers of active codewords.

--out writes {"layers": [{"layer", "phone_purity", "cluster_purity", "pnmi", "pnmi_shuffled",
"active_codewords"}], "refitted": [layers], "encoder_refitted": [layers], "frames", "clips", "step",
"updates"}; with --untrained also "untrained": {"unfitted", "fitted", "refitted": [layers] each}.
"""

import argparse
import dataclasses
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
from uniwav_jax.evaluation import codebook_analysis, textgrid
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.models import codebooks, masking
from uniwav_jax.tasks import pretrain
from uniwav_jax.train import checkpoint, step
from uniwav_jax.types import Batch, PyTree

MAX_MISFIT = 0.5  # seconds between the ends of a clip and of its TextGrid


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
        config=config,
        features=features,
        limit=args.limit,
        batch_seconds=args.batch_seconds,
    )
    assign = make_assign(config, features)
    frames = sum(map(len, clips.labels))
    feature_params, trained = parts["features"], parts["task"]
    encoder = {**trained, "teacher": parts["params"]["encoder"]}

    def coded(title: str, task: PyTree, *, fitted: bool) -> list[dict[str, float]]:
        if fitted:
            task = fit(assign, feature_params, task, clips, updates=args.updates, config=config)
        layers = measure(assign, feature_params, task, clips, config=config)
        show(title, layers)
        return layers

    def refitted(task: PyTree) -> PyTree:
        return start_at_frames(assign, feature_params, task, clips)

    print(f"step {meta['step']}: {clips.count} clips, {frames} frames")
    result: dict[str, Any] = {
        "layers": coded("codebooks of the run", trained, fitted=False),
        "refitted": coded("codebooks refitted", refitted(trained), fitted=True),
        "encoder_refitted": coded("encoder, refitted", refitted(encoder), fitted=True),
        "frames": frames,
        "clips": clips.count,
        "step": int(meta["step"]),
        "updates": args.updates,
    }
    if args.untrained:
        init = jax.jit(pretrain.init, static_argnums=(1, 2))
        _, fresh = init(jax.random.key(config.seed), config, features.channels)
        result["untrained"] = {
            "unfitted": coded("untrained, codebooks unfitted", fresh, fitted=False),
            "fitted": coded("untrained, codebooks fitted", fresh, fitted=True),
            "refitted": coded("untrained, codebooks refitted", refitted(fresh), fitted=True),
        }
    if args.out:
        out = pathlib.Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def read_clips(
    manifest_path: str,
    alignments: str,
    *,
    config: Config,
    features: SurfaceFeatures,
    limit: int | None,
    batch_seconds: float,
) -> Clips:
    """Read the clips that have a TextGrid, padded to the buckets of the configuration.

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
    buckets = [round(seconds * rate) for seconds in config.data.buckets]
    by_bucket: dict[int, list[int]] = {}
    for row in rows:
        length = min(int(lengths[row]), buckets[-1])
        by_bucket.setdefault(next(b for b in buckets if b >= length), []).append(row)
    reader = sources.ClipReader(corpus, sample_rate=rate)
    clips = Clips([], [], len(rows))
    for bucket, inside in by_bucket.items():
        size = max(1, int(batch_seconds * rate / bucket))
        for first in range(0, len(inside), size):
            audio_BxS = np.zeros((size, bucket), np.int16)
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
                    audio = reader.read(row, start=0, samples=bucket)
                except sources.BadAudioError as error:
                    raise UserError(f"{reader.name(row)} {error}") from error
                audio_BxS[place, : len(audio)], samples_B[place] = audio, len(audio)
                frames = features.output_length(len(audio))
                clips.labels.append(textgrid.frame_labels(intervals, frames, features.frame_rate))
            clips.batches.append(Batch(audio_BxS, samples_B, np.zeros(size, bool)))
    return clips


def make_assign(config: Config, features: SurfaceFeatures) -> Callable[..., tuple]:
    """Compile `(feature params, task state, batch) -> codes, frames, sums, targets`.

    Codes are int32 [K, B, T], frames int32 [B], targets float32 [K, B, T, D]. The codes are what
    the student has to predict in training (tasks/pretrain.py: `loss`); the sums are what a codebook
    update on all real frames needs. One compilation per padded length.
    """

    @jax.jit
    def assign(feature_params: PyTree, task_state: PyTree, batch: Batch) -> tuple:
        x_BxTxC, frames_B = step.surface(batch, feature_params, features)
        mask_BxT = masking.frame_mask(frames_B, x_BxTxC.shape[1])
        targets, _ = pretrain.targets(task_state["teacher"], x_BxTxC, mask_BxT, config)
        codes = codebooks.assign(task_state["codebooks"], targets)
        words = config.distillation.codewords
        sums = codebooks.statistics(targets, codes, mask_BxT, words)
        return codes, frames_B, sums, targets

    return assign


def measure(
    assign: Callable[..., tuple],
    feature_params: PyTree,
    task_state: PyTree,
    clips: Clips,
    *,
    config: Config,
) -> list[dict[str, float]]:
    """Code all clips; one dict of measures per predicted layer, layers counted from 1."""
    per_row = []
    for batch in clips.batches:
        codes_KxBxT, frames_B, *_ = assign(feature_params, task_state, batch)
        codes_KxBxT, frames_B = jax.device_get((codes_KxBxT, frames_B))
        per_row += [codes_KxBxT[:, row, :frames] for row, frames in enumerate(frames_B)]
    codes_KxN = np.concatenate(per_row, axis=1)
    labels = np.concatenate(clips.labels)
    lowest = config.model.encoder.layers - len(codes_KxN) + 1
    return [
        {
            "layer": lowest + index,
            "phone_purity": codebook_analysis.phone_purity(codes, labels),
            "cluster_purity": codebook_analysis.cluster_purity(codes, labels),
            "pnmi": codebook_analysis.pnmi(codes, labels),
            "pnmi_shuffled": codebook_analysis.pnmi_shuffled(codes, labels, seed=0),
            "active_codewords": len(np.unique(codes)),
        }
        for index, codes in enumerate(codes_KxN)
    ]


def start_at_frames(
    assign: Callable[..., tuple], feature_params: PyTree, task_state: PyTree, clips: Clips
) -> PyTree:
    """The task state with codewords at random frames of one batch, the same for all layers."""
    _, frames_B, _, targets_KxBxTxD = assign(feature_params, task_state, clips.batches[0])
    real = masking.frame_mask(frames_B, targets_KxBxTxD.shape[2])
    books = task_state["codebooks"]
    books = codebooks.start_at_frames(books, jax.random.key(0), targets_KxBxTxD, real)
    return {**task_state, "codebooks": books}


def fit(
    assign: Callable[..., tuple],
    feature_params: PyTree,
    task_state: PyTree,
    clips: Clips,
    *,
    updates: int,
    config: Config,
) -> PyTree:
    """The task state after `updates` codebook updates on the clips' batches; nothing else moves."""
    order = np.random.default_rng(0)
    for index in range(updates):
        if index % len(clips.batches) == 0:
            pass_order = order.permutation(len(clips.batches))
        batch = clips.batches[pass_order[index % len(clips.batches)]]
        _, _, sums, _ = assign(feature_params, task_state, batch)
        decay = config.distillation.codebook_decay
        books = codebooks.update(task_state["codebooks"], sums, decay)
        task_state = {**task_state, "codebooks": books}
    return task_state


def show(title: str, layers: list[dict[str, float]]) -> None:
    """Print one table."""
    print(title)
    print("  " + "  ".join(f"{name:>16}" for name in layers[0]))
    for layer in layers:
        cells = (f"{v:16.4f}" if isinstance(v, float) else f"{v:16d}" for v in layer.values())
        print("  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    run_tool(main)
