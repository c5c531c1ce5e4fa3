"""Measures whether the codewords of a run correspond to phones, and how much they say of speakers.

Every aligned clip goes unmasked through the networks of a checkpoint. The purities and the mutual
information of codes and phones, silence included (measures/codebook_analysis.py), are measured for

- tokens: the codes of each book, for a run of task tokenizer.
- codes: the codewords that the student's prediction heads choose, per predicted layer; and
  mfcc_codes, the clusters of MFCCs that it predicts, where it was trained to.
- teacher_codes: the codewords that the student has to predict in training, which are the teacher's
  outputs assigned to its codebooks.
- new codebooks of the same size, one for each row and layer below. Their codewords start at frames
  of this speech and are fitted to it by the codebook updates of training:
    input      features that need no network; each channel is scaled to zero mean and unit variance
               over the speech that codewords are fitted to:
        log_mel         the log-mel spectrogram of config.features
        log_mel_deltas  the same with deltas and double deltas
        mfcc39          13 MFCC with deltas and double deltas (features/mfcc.py)
    encoder, teacher and, on request, untrained (the same network with fresh weights):
        feed_forward    each layer's feed-forward output, instance-normalised, as training clusters
                        it
        states          each layer's output h_l after LayerNorm without affine, as z mixes it and as
                        units of a speech tokenizer are made from it

Nearly all fitted codewords are in use, so these rows can be compared with one another. Training
helped an encoder whose values are above those of both the untrained network and the input.

Codewords that are fitted to the tested speech adapt to its speakers, which raises every row. A
second set of tables can therefore be made with codewords that are fitted to other speech.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.checkpoint import reader
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import abx as abx_lib
from uniwav_jax.evaluation import units
from uniwav_jax.evaluation.units import Clips
from uniwav_jax.features import LogMel, SurfaceFeatures, mfcc, statistics
from uniwav_jax.features.batch import surface
from uniwav_jax.models import layers, masking, quantizer, speech_tokens, uniwav
from uniwav_jax.types import Batch, PyTree

FIT_DECAY = 0.9  # decay of new codebooks' averages; equal in all runs, so that they are comparable
KEPT = 2**31  # bytes of frames that are kept in memory
INPUTS = ("log_mel", "log_mel_deltas", "mfcc39")
KINDS = ("feed_forward", "states")
# Codes that need no new codewords: the part of the parameters or the state that they need.
OWN = {
    "codes": "heads",
    "mfcc_codes": "mfcc_head",
    "teacher_codes": "codebooks",
    "tokens": "books",
}

# Function of a batch that returns layers, float32 [L, B, T, D], and real frames, bool [B, T].
Frames = Callable[[Batch], tuple[jax.Array, jax.Array]]
# Function of a batch that returns codes, int32 [K, B, T], and real frames, bool [B, T].
Codes = Callable[[Batch], tuple[jax.Array, jax.Array]]

assign = jax.jit(quantizer.assign)  # compiled once for all rows of one shape


def evaluate(
    checkpoint: str,
    manifest: str,
    alignments: str,
    *,
    fit_manifest: str | None = None,
    untrained: bool = False,
    updates: int = 50,
    seed: int = 0,
    limit: int | None = None,
    batch_seconds: float = 60.0,
    words: int | None = None,
    abx: bool = False,
) -> dict[str, Any]:
    """Measure and print all tables.

    Args:
        checkpoint: workdir, checkpoints folder or step folder of a run with an encoder.
        manifest: manifest of the test clips; the clips are used that have a file
            `alignments`/STEM.TextGrid with a tier "phones".
        alignments: folder of TextGrids.
        fit_manifest: manifest of other speech, which needs no TextGrids; codewords are fitted to it
            for a second set of tables.
        untrained: also measure a network with fresh weights, and the difference of the encoder from
            it with 95 % intervals by bootstrap over the clips.
        updates: number of codebook updates that fit new codewords.
        seed: seed of the fresh weights and of the first codewords.
        limit: largest number of clips, spread over each manifest; None: all.
        batch_seconds: seconds of audio per batch.
        words: number of codewords that are fitted; None: as many as the run's books have.
        abx: also measure ABX errors of the input's and the networks' frames (evaluation/abx.py).

    Returns:
        {"codes": [layers], "teacher_codes": [layers], "codebooks": the same under its former name,
        "input": {"log_mel": [layer 0], "log_mel_deltas", "mfcc39": likewise}, "encoder", "teacher",
        "untrained": {"feed_forward": [layers], "states": [layers]}, "encoder_minus_mfcc39" and
        "encoder_minus_untrained": likewise, "clips", "frames", "step", "updates", "seed",
        "fit_manifest": {"clips", "frames", "input", "encoder", ... of the second set}}. A run of
        task tokenizer has "tokens" [books] in place of the codes and the teacher. Each layer is a
        result of `units.measure`, or for differences {"layer", "pnmi_low", "pnmi_high", ...}.
        With `abx` also "abx": {"input", "encoder", ...: likewise}.

    Raises:
        UserError: there is no such checkpoint, or no clip has a TextGrid.
    """
    if abx:
        abx_lib.require()
    run = reader.open(checkpoint)
    parts = run.arrays("state", "frozen/features", "params")
    params = parts["params"] | parts.get("state", {})
    if "encoder" not in params:
        raise UserError(f"{checkpoint} is of task {run.config.task}, which has no encoder")
    config, features = run.config, run.features()
    feature_params = parts["frozen"]["features"]
    options = {"limit": limit, "batch_seconds": batch_seconds}
    clips = units.read_clips(manifest, alignments, features=features, **options)
    fit_clips = None
    if fit_manifest:
        fit_clips = units.read_clips(fit_manifest, None, features=features, **options)

    encoders = {name: params[name] for name in ("encoder", "teacher") if name in params}
    if untrained:
        init = jax.jit(run.task.init, static_argnums=(1, 2))
        fresh, _ = init(jax.random.key(seed), config, features.channels)
        encoders["untrained"] = fresh["encoder"]
    read_input = make_read_input(config, features)
    rows = {"input": {kind: functools.partial(read_input, kind) for kind in INPUTS}}
    read = make_read(config, features, feature_params)
    for name, encoder in encoders.items():
        rows[name] = {kind: functools.partial(read, encoder, kind) for kind in KINDS}

    result: dict[str, Any] = {
        "clips": clips.count,
        "frames": clips.frames,
        "step": run.step,
        "updates": updates,
        "seed": seed,
    }
    print(", ".join(f"{name} {value}" for name, value in result.items()))
    if reason := units.about_speakers(clips):
        print(f"information about speakers is {reason}")
    code = make_code(config, features, feature_params)
    for kind, part in OWN.items():
        if part not in params:
            continue
        codes_KxN = encode(functools.partial(code, params, kind), clips)
        top = config.model.encoder.layers
        lowest = {"tokens": 1, "mfcc_codes": top}.get(kind, top - len(codes_KxN) + 1)
        result[kind] = units.measure(codes_KxN, clips, lowest=lowest)
        show(f"{kind} of the run", result[kind])
    if "teacher_codes" in result:
        result["codebooks"] = result["teacher_codes"]
    options = config.tokenizer if "books" in params else config.distillation
    words = words or options.codewords
    rate = round(features.frame_rate)
    for name, kinds in rows.items() if abx else ():
        for kind, read in kinds.items():
            lowest = 0 if name == "input" else 1
            count = 1 if name == "input" else config.model.encoder.layers
            table = [{"layer": layer} for layer in range(lowest, lowest + count)]
            scaled = standardised(read, fit_clips or clips) if name == "input" else read
            abx_lib.add(table, scaled, clips, frame_rate=rate)
            result.setdefault("abx", {}).setdefault(name, {})[kind] = table
            show(f"{name}, {kind}: ABX errors", table)
    fitting = {"updates": updates, "seed": seed, "words": words}
    result |= probe(rows, clips, clips, **fitting)
    if fit_clips is not None:
        size = {"clips": fit_clips.count, "frames": fit_clips.frames}
        print(f"codewords fitted to {fit_manifest}: {size['clips']} clips")
        result["fit_manifest"] = size | probe(rows, fit_clips, clips, **fitting)
    return result


def probe(
    rows: dict[str, dict[str, Frames]],
    fit_clips: Clips,
    clips: Clips,
    *,
    updates: int,
    seed: int,
    words: int,
) -> dict[str, Any]:
    """Fit new codewords for every row; measure and print how they correspond to the phones.

    Args:
        rows: {"input" or the name of a network: {kind: function that reads its frames}}.
        fit_clips: speech that codewords are fitted to.
        clips: speech with labels that they are tested on.
        updates: number of codebook updates.
        seed: seed of the first codewords.
        words: number of codewords per codebook.

    Returns:
        Tables of `units.measure` in the form of `rows`, "encoder_minus_mfcc39", and where there is
        an untrained network "encoder_minus_untrained".
    """
    result: dict[str, Any] = {}
    codes: dict[tuple[str, str], np.ndarray] = {}
    for name, kinds in rows.items():
        result[name] = {}
        for kind, read in kinds.items():
            read = remembered(read)
            if name == "input":
                read = standardised(read, fit_clips)
            books = fit(read, fit_clips, updates=updates, seed=seed, words=words)
            codes[name, kind] = encode(nearest(read, books), clips)
            lowest = 0 if name == "input" else 1
            result[name][kind] = units.measure(codes[name, kind], clips, lowest=lowest)
            show(f"{name}, {kind}", result[name][kind])
    floors = {"mfcc39": ("input", "mfcc39"), "untrained": ("untrained", None)}
    for floor, (name, of) in floors.items():
        if name not in rows:
            continue
        result[f"encoder_minus_{floor}"] = {}
        for kind in KINDS:
            ours = codes["encoder", kind]
            theirs = np.broadcast_to(codes[name, of or kind], ours.shape)
            table = units.compare(ours, theirs, clips)
            result[f"encoder_minus_{floor}"][kind] = table
            show(f"encoder less {floor}, {kind}: 95 % intervals", table)
    return result


def remembered(read: Frames) -> Frames:
    """`read`, whose first results are kept up to `KEPT` bytes, because fitting reads them again."""
    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    left = KEPT

    def again(batch: Batch) -> tuple[Any, Any]:
        nonlocal left
        if (found := known.get(id(batch))) is not None:
            return found
        found = jax.device_get(read(batch))
        if (left := left - found[0].nbytes) > 0:
            known[id(batch)] = found
        return found

    return again


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

    `kind` is one of `OWN`. Codes need the parts "encoder" and "heads", or "mfcc_head"; those of the
    teacher "teacher" and "codebooks"; tokens "encoder", "condition", "tokens" and "books".
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
        if kind == "tokens":
            h_BxTxD = speech_tokens.state(encoded, config.tokenizer.layer)
            z_BxTxE = uniwav.condition(params["condition"], encoded, None)
            books = params["tokens"], params["books"]
            return speech_tokens.encode(*books, h_BxTxD, z_BxTxE)[0], mask_BxT
        if kind == "mfcc_codes":
            logits = uniwav.predict_mfcc(params["mfcc_head"], encoded)
            return logits.argmax(-1).astype(jnp.int32), mask_BxT
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
    """Fit one codebook per layer, which starts at random frames, by `updates` updates.

    Args:
        read: function that reads a batch's layers.
        clips: the speech.
        updates: number of codebook updates.
        seed: seed of the first codewords and of the order of batches.
        words: V, number of codewords per codebook.

    Returns:
        {"sums" float32 [L, V, D], "counts" float32 [L, V]}.
    """
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
    """The codebooks {"sums" [L, V, D], "counts" [L, V]} after one update by a batch."""
    codes = quantizer.assign(books, layers_LxBxTxD)
    words = books["counts"].shape[1]
    seen = quantizer.statistics(layers_LxBxTxD, codes, mask_BxT, words)
    return quantizer.update(books, seen, FIT_DECAY)


def nearest(read: Frames, books: PyTree) -> Codes:
    """A function that assigns each frame to the nearest codeword of each layer's codebook."""

    def code(batch: Batch) -> tuple[jax.Array, jax.Array]:
        layers_LxBxTxD, mask_BxT = read(batch)
        return assign(books, layers_LxBxTxD), mask_BxT

    return code


def encode(code: Codes, clips: Clips) -> np.ndarray:
    """The codes of all N real frames, in the order of `clips.labels`; int32 [K, N]."""
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
