"""Do the codewords mean phones?

    python tools/probe_codewords.py WORKDIR --manifest manifest.tsv --alignments FOLDER

Every clip of the manifest with a FOLDER/<its file's stem>.TextGrid (tier "phones") goes unmasked
through the networks of a pretraining checkpoint. The tool prints purities and mutual information of
codes and phones, silence included (see uniwav_jax/evaluation/codebook_analysis.py):

- codes: the codewords that the student's prediction heads choose, per predicted layer.
- teacher_codes: the codewords that the student has to predict in training, which are the teacher's
  outputs assigned to its codebooks.
- As many new codewords per row, which start at frames of this speech and are fitted to it by
  training's codebook updates, for
    input      what is known without any network; each channel is scaled to zero mean and unit
               variance over the speech that codewords are fitted to:
        log_mel         the log-mel spectrogram of config.features
        log_mel_deltas  with deltas and double deltas
        mfcc39          13 MFCC with deltas and double deltas (uniwav_jax/features/mfcc.py)
    encoder, teacher and, with --untrained, the same network with fresh weights:
        feed_forward    each layer's feed-forward output, instance-normalised: what training
                        clusters
        states          each layer's output h_l, LayerNorm without affine: what z mixes and what
                        units of a speech tokenizer are made of

Compare within the fitted rows: nearly all of their codewords are in use. An encoder is worth its
training where it is above both the untrained network and the input. With --untrained follow
intervals of encoder less untrained, by bootstrap over the clips; repeating with another --seed of
fresh weights and first codewords shows what else is chance.

Codewords that are fitted to the speech that they are tested on know its speakers, which flatters
every row. With --fit_manifest a second set of tables follows, of codewords fitted to the speech of
that manifest (other speakers; it needs no TextGrids) and tested on --manifest.

--out writes {"codes": [layers], "teacher_codes": [layers], "codebooks": the same by its older name,
"input": {"log_mel": [layer 0], "log_mel_deltas", "mfcc39": likewise}, "encoder", "teacher",
"untrained": {"feed_forward": [layers], "states": [layers]}, "encoder_minus_untrained": likewise,
"clips", "frames", "step", "updates", "seed", "fit_manifest": {"clips", "frames", "input",
"encoder", ... of the second set}} where a layer is {"layer", "phone_purity", "cluster_purity",
"pnmi", "pnmi_shuffled", "active_codewords"}, or of a difference {"layer", "pnmi_low", "pnmi_high",
...}.
"""

import argparse
import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from uniwav_jax.checkpoint import reader
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.evaluation import units
from uniwav_jax.evaluation.units import Clips
from uniwav_jax.features import LogMel, SurfaceFeatures, mfcc, statistics
from uniwav_jax.features.batch import surface
from uniwav_jax.models import layers, masking, quantizer, uniwav
from uniwav_jax.tasks import pretrain
from uniwav_jax.types import Batch, PyTree

FIT_DECAY = 0.9  # of new codebooks, whatever the run's own decay is: runs compare
INPUTS = ("log_mel", "log_mel_deltas", "mfcc39")
KINDS = ("feed_forward", "states")

# batch -> layers float32 [L, B, T, D], real frames bool [B, T]
Frames = Callable[[Batch], tuple[jax.Array, jax.Array]]
# batch -> codes int32 [K, B, T], real frames bool [B, T]
Codes = Callable[[Batch], tuple[jax.Array, jax.Array]]

assign = jax.jit(quantizer.assign)  # compiled once for all rows of one shape


def main(argv: list[str]) -> int:
    """Load, probe, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdir", help="a pretraining run, or one of its step folders")
    parser.add_argument("--manifest", required=True, help="of tools/build_manifest.py")
    parser.add_argument("--alignments", required=True, help="folder of TextGrids")
    parser.add_argument("--fit_manifest", help="also fit codewords to this speech instead")
    parser.add_argument("--untrained", action="store_true", help="also probe fresh weights")
    parser.add_argument("--updates", type=int, default=50, help="that fit new codebooks")
    parser.add_argument("--seed", type=int, default=0, help="of fresh weights and codewords")
    parser.add_argument("--limit", type=int, help="clips at most, spread over each manifest")
    parser.add_argument("--batch_seconds", type=float, default=60.0)
    parser.add_argument("--out", help="JSON file to write")
    args = parser.parse_args(argv)

    checkpoint = reader.open(args.workdir)
    parts = checkpoint.arrays("state", "frozen/features", "params")
    if "codebooks" not in parts["state"]:
        raise UserError(f"{args.workdir} has no codebooks; give a pretraining run")
    config, features = checkpoint.config, checkpoint.features()
    feature_params = parts["frozen"]["features"]
    options = {"limit": args.limit, "batch_seconds": args.batch_seconds}
    clips = units.read_clips(args.manifest, args.alignments, features=features, **options)
    fit_clips = None
    if args.fit_manifest:
        fit_clips = units.read_clips(args.fit_manifest, None, features=features, **options)

    params = parts["params"] | {name: parts["state"][name] for name in ("teacher", "codebooks")}
    encoders = {"encoder": params["encoder"], "teacher": params["teacher"]}
    if args.untrained:
        init = jax.jit(pretrain.init, static_argnums=(1, 2))
        fresh, _ = init(jax.random.key(args.seed), config, features.channels)
        encoders["untrained"] = fresh["encoder"]
    read_input = make_read_input(config, features)
    rows = {"input": {kind: functools.partial(read_input, kind) for kind in INPUTS}}
    read = make_read(config, features, feature_params)
    for name, encoder in encoders.items():
        rows[name] = {kind: functools.partial(read, encoder, kind) for kind in KINDS}

    result: dict[str, Any] = {
        "clips": clips.count,
        "frames": clips.frames,
        "step": checkpoint.step,
        "updates": args.updates,
        "seed": args.seed,
    }
    print(", ".join(f"{name} {value}" for name, value in result.items()))
    code = make_code(config, features, feature_params)
    for kind in ("codes", "teacher_codes"):
        codes_KxN = encode(functools.partial(code, params, kind), clips)
        lowest = config.model.encoder.layers - len(codes_KxN) + 1
        result[kind] = units.measure(codes_KxN, clips, lowest=lowest)
        show(f"{kind} of the run", result[kind])
    result["codebooks"] = result["teacher_codes"]
    words = config.distillation.codewords
    fitting = {"updates": args.updates, "seed": args.seed, "words": words}
    result |= probe(rows, clips, clips, **fitting)
    if fit_clips is not None:
        size = {"clips": fit_clips.count, "frames": fit_clips.frames}
        print(f"codewords fitted to {args.fit_manifest}: {size['clips']} clips")
        result["fit_manifest"] = size | probe(rows, fit_clips, clips, **fitting)
    if args.out:
        out = pathlib.Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def probe(
    rows: dict[str, dict[str, Frames]],
    fit_clips: Clips,
    clips: Clips,
    *,
    updates: int,
    seed: int,
    words: int,
) -> dict[str, Any]:
    """Fit new codewords for every row, measure and print what they tell of the phones.

    Args:
        rows: {"input" or the name of a network: {kind: its frames}}.
        fit_clips: speech that codewords are fitted to.
        clips: speech with labels that they are tested on.
        updates: codebook updates.
        seed: of the first codewords.
        words: codewords in a codebook.

    Returns:
        Tables of `units.measure` in the form of `rows`, and "encoder_minus_untrained" where there
        is an untrained network.
    """
    result: dict[str, Any] = {}
    codes: dict[tuple[str, str], np.ndarray] = {}
    for name, kinds in rows.items():
        result[name] = {}
        for kind, read in kinds.items():
            if name == "input":
                read = standardised(read, fit_clips)
            books = fit(read, fit_clips, updates=updates, seed=seed, words=words)
            codes[name, kind] = encode(nearest(read, books), clips)
            lowest = 0 if name == "input" else 1
            result[name][kind] = units.measure(codes[name, kind], clips, lowest=lowest)
            show(f"{name}, {kind}", result[name][kind])
    if "untrained" in rows:
        result["encoder_minus_untrained"] = {}
        for kind in KINDS:
            table = units.compare(codes["encoder", kind], codes["untrained", kind], clips)
            result["encoder_minus_untrained"][kind] = table
            show(f"encoder less untrained, {kind}: 95 % intervals", table)
    return result


def make_read(
    config: Config, features: SurfaceFeatures, feature_params: PyTree
) -> Callable[[PyTree, str, Batch], tuple[jax.Array, jax.Array]]:
    """Compile `(encoder, kind, batch) -> layers float32 [L, B, T, D], real frames bool [B, T]`."""

    @functools.partial(jax.jit, static_argnums=1)
    def read(encoder: PyTree, kind: str, batch: Batch) -> tuple[jax.Array, jax.Array]:
        x_BxTxC, frames_B = surface(batch, feature_params, features)
        mask_BxT = masking.frame_mask(frames_B, x_BxTxC.shape[1])
        seen = uniwav.encoder_module(config).apply({"params": encoder}, x_BxTxC, mask_BxT)
        if kind == "feed_forward":
            return quantizer.instance_norm(seen.feed_forward, mask_BxT)[0], mask_BxT
        return layers.plain_layer_norm(seen.states), mask_BxT

    return read


def make_read_input(
    config: Config, features: SurfaceFeatures
) -> Callable[[str, Batch], tuple[jax.Array, jax.Array]]:
    """Compile `(kind of INPUTS, batch) -> float32 [1, B, T, D], real frames bool [B, T]`."""
    log_mel = LogMel(config.features)
    left, right = features.context

    @functools.partial(jax.jit, static_argnums=0)
    def read(kind: str, batch: Batch) -> tuple[jax.Array, jax.Array]:
        frames_B = features.output_length(batch.samples)
        audio_BxS = batch.audio[:, left : batch.audio.shape[1] - right]
        x_BxTxC = log_mel.raw({}, audio_BxS)
        if kind == "log_mel_deltas":
            x_BxTxC = mfcc.with_deltas(x_BxTxC, frames_B)
        elif kind == "mfcc39":
            x_BxTxC = mfcc.mfcc(x_BxTxC, frames_B)
        return x_BxTxC[None], masking.frame_mask(frames_B, x_BxTxC.shape[1])

    return read


def make_code(
    config: Config, features: SurfaceFeatures, feature_params: PyTree
) -> Callable[[PyTree, str, Batch], tuple[jax.Array, jax.Array]]:
    """Compile `(params, kind, batch) -> codes int32 [K, B, T], real frames bool [B, T]`.

    `params` holds "encoder" and "heads" for the kind "codes", "teacher" and "codebooks" for the
    kind "teacher_codes".
    """

    @functools.partial(jax.jit, static_argnums=1)
    def code(params: PyTree, kind: str, batch: Batch) -> tuple[jax.Array, jax.Array]:
        x_BxTxC, frames_B = surface(batch, feature_params, features)
        mask_BxT = masking.frame_mask(frames_B, x_BxTxC.shape[1])
        if kind == "teacher_codes":
            teacher, books = params["teacher"], params["codebooks"]
            return uniwav.teacher_codes(teacher, books, x_BxTxC, mask_BxT, config), mask_BxT
        encoder = uniwav.encoder_module(config)
        encoded = encoder.apply({"params": params["encoder"]}, x_BxTxC, mask_BxT)
        return uniwav.codes(params["heads"], encoded, config), mask_BxT

    return code


def standardised(read: Frames, clips: Clips) -> Frames:
    """`read` with each channel scaled to zero mean and unit variance over the frames of `clips`."""
    total, squares = 0.0, 0.0
    for batch in clips.batches:
        layers_LxBxTxD, mask_BxT = jax.device_get(read(batch))
        real_LxNxD = layers_LxBxTxD[:, mask_BxT].astype(np.float64)
        total = total + real_LxNxD.sum(1)
        squares = squares + np.square(real_LxNxD).sum(1)
    mean_LxD = total / clips.frames
    variance_LxD = squares / clips.frames - np.square(mean_LxD)
    std_LxD = np.sqrt(np.maximum(variance_LxD, statistics.MIN_STD**2))
    mean, std = (a.astype(np.float32)[:, None, None] for a in (mean_LxD, std_LxD))

    def scaled(batch: Batch) -> tuple[jax.Array, jax.Array]:
        layers_LxBxTxD, mask_BxT = read(batch)
        return (layers_LxBxTxD - mean) / std, mask_BxT

    return scaled


def fit(read: Frames, clips: Clips, *, updates: int, seed: int, words: int) -> PyTree:
    """One codebook a layer: starts at random frames of a batch, then `updates` codebook updates."""
    key, order = jax.random.key(seed), np.random.default_rng(seed)
    layers_LxBxTxD, mask_BxT = read(clips.batches[0])
    count, *_, width = layers_LxBxTxD.shape
    books = quantizer.init(key, books=count, codewords=words, width=width)
    chosen_BxT = quantizer.choose_frames(key, mask_BxT, words)
    at_frames = quantizer.chosen_statistics(layers_LxBxTxD, chosen_BxT, words)
    books = quantizer.update(books, at_frames, 0.0)
    for index in range(updates):
        if index % len(clips.batches) == 0:
            pass_order = order.permutation(len(clips.batches))
        books = updated(books, *read(clips.batches[pass_order[index % len(clips.batches)]]))
    return books


@jax.jit
def updated(books: PyTree, layers_LxBxTxD: jax.Array, mask_BxT: jax.Array) -> PyTree:
    """Codebooks after one update by a batch."""
    codes = quantizer.assign(books, layers_LxBxTxD)
    words = books["counts"].shape[1]
    seen = quantizer.statistics(layers_LxBxTxD, codes, mask_BxT, words)
    return quantizer.update(books, seen, FIT_DECAY)


def nearest(read: Frames, books: PyTree) -> Codes:
    """The codeword of each layer's codebook that is nearest to the frame."""

    def code(batch: Batch) -> tuple[jax.Array, jax.Array]:
        layers_LxBxTxD, mask_BxT = read(batch)
        return assign(books, layers_LxBxTxD), mask_BxT

    return code


def encode(code: Codes, clips: Clips) -> np.ndarray:
    """Codes of all real frames, in the order of `clips.labels`; int32 [K, frames]."""
    per_batch = []
    for batch in clips.batches:
        codes_KxBxT, mask_BxT = jax.device_get(code(batch))
        per_batch.append(codes_KxBxT[:, mask_BxT])
    return np.concatenate(per_batch, axis=1)


def show(title: str, table: list[dict[str, float]]) -> None:
    """Print one table."""
    print(title)
    print("  " + "  ".join(f"{name:>16}" for name in table[0]))
    for layer in table:
        cells = (f"{v:16.4f}" if isinstance(v, float) else f"{v:16d}" for v in layer.values())
        print("  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    run_tool(main)
