"""Trains an encoder with `spidr` for some CPU minutes, to compare what it learns with ours.

    python benchmarks/spidr_peer.py --manifest train.tsv --minutes 10 --out peer.safetensors
    uniwav import model peer.safetensors --heads 4 --out runs/peer
    uniwav evaluate units --checkpoint runs/peer --manifest ALIGNED.tsv --alignments FOLDER
    uniwav train --config=ablations/asr --config.init_from=runs/peer ...

With --features RUN, a run of ours, it is trained on the surface features of that run instead of
waveforms, and OUT becomes a run that needs no import. The model is `spidr`'s own, DinoSR or SpidR,
with its share and length of masks, optimizer and clipping. Its schedules, which are made for 400k
updates, run over the CPU time instead; --ema_fixed keeps the teacher's decay at its published first
value, because with horizons of few updates small models collapse. The curve goes to OUT with the
ending .jsonl. Torch's threads wait in busy loops, so set OMP_NUM_THREADS=1 where other programs
run. It needs torch and spidr; see tests/requirements-oracles.txt.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Iterator

import jax
import numpy as np
import peers
import torch
from safetensors.torch import save_file
from spidr.config import DEFAULT_CONV_LAYER_CONFIG, DinoSRConfig, SpidRConfig
from spidr.models import DinoSR, SpidR

from uniwav_jax.checkpoint import reader, store
from uniwav_jax.data import manifest, sources
from uniwav_jax.export import dinosr

RATE, PLANNED = 16000, 400_000  # updates of spidr's own schedules
WARMUP, HOLD, LAST = 12_000 / PLANNED, 188_000 / PLANNED, 0.01  # shares of them; final scale
SHARE, SPAN = 0.8, 10  # of frames to mask, if spans did not overlap, and frames of a span
NORM = ("layer_norm.weight", "layer_norm.bias")
BETAS, EPSILON, DECAY, CLIP = (0.9, 0.95), 1e-6, 0.01, 10.0  # as in its OptimizerConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--features", default="", metavar="RUN")
    parser.add_argument("--model", choices=("dinosr", "spidr"), default="dinosr")
    parser.add_argument("--minutes", type=float, default=10.0, help="of CPU time, all threads")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--ffn", type=int, default=640)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each row")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--ema_fixed", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    run = reader.open(str(reader.find(args.features))) if args.features else None
    model, curve = train(args, run)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if run:
        save_run(state, run, args)
    else:
        save_file(state, args.out)
    settings = {name: str(value) for name, value in vars(args).items()}
    document = {"device": peers.device_name(), "torch": torch.__version__} | settings
    lines = [json.dumps(entry) for entry in (document, *curve)]
    args.out.with_suffix(".jsonl").write_text("\n".join(lines) + "\n")


def train(
    args: argparse.Namespace, run: reader.Checkpoint | None
) -> tuple[DinoSR, list[dict[str, float]]]:
    """Train until the CPU time is used; the mean of each tenth of it is a point of the curve."""
    torch.manual_seed(args.seed)
    config, kind = {"dinosr": (DinoSRConfig, DinoSR), "spidr": (SpidRConfig, SpidR)}[args.model]
    channels = run.features().channels if run else 0
    model = kind(
        config(
            extractor_conv_layer_config=[(channels, 10, 5)] if run else DEFAULT_CONV_LAYER_CONFIG,
            encoder_embed_dim=args.width,
            encoder_num_layers=args.layers,
            encoder_num_heads=args.heads,
            encoder_ff_interm_features=args.ffn,
            num_codebooks=min(8, args.layers),
        )
    ).train()
    if run:
        model.feature_extractor = torch.nn.Identity()
    trained = [p for name, p in model.named_parameters() if not name.startswith("teacher")]
    optimizer = torch.optim.AdamW(trained, args.lr, BETAS, EPSILON, DECAY, fused=True)
    batches = crops(args, run)
    curve, sums, updates = [], np.zeros(3), 0
    begin = time.process_time()
    while (done := (time.process_time() - begin) / (60 * args.minutes)) < 1:
        if done >= (len(curve) + 1) / 10:
            curve.append(point(updates, sums))
            print(curve[-1], flush=True)
            sums[:] = 0
        for group in optimizer.param_groups:
            group["lr"] = args.lr * scale(done)
        waves, masked = next(batches)
        loss, outputs = model(waves, mask_indices=masked)
        loss = loss.sum() / masked.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        updates += 1
        if not args.ema_fixed or done < 0.5:  # where its teacher stops
            model.update_ema(1 if args.ema_fixed else round(done * PLANNED))
        sums += (1, loss.item(), float(outputs["target_ppl"]))
    return model, [*curve, point(updates, sums)]


def point(updates: int, sums: np.ndarray) -> dict[str, float]:
    count, loss, perplexity = sums.tolist()
    return {"step": updates, "loss": loss / count, "target_perplexity": perplexity / count}


def scale(done: float) -> float:
    """The learning rate's factor after a share of the run: warm-up, constant, exponential decay."""
    if done < WARMUP:
        return 0.01 + 0.99 * done / WARMUP
    return math.exp(math.log(LAST) * max(done - WARMUP - HOLD, 0) / (1 - WARMUP - HOLD))


def crops(
    args: argparse.Namespace, run: reader.Checkpoint | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of normalised crops, and the places of their masked frames [rows, M].

    Crops are waves [rows, samples], or features [rows, T, C] of a run.
    """
    corpus = manifest.load(args.manifest, cache=str(args.out.parent))
    clips = sources.ClipReader(corpus, sample_rate=RATE)
    length, rng = round(args.seconds * RATE), np.random.default_rng(args.seed)
    kept = [row for row, samples in enumerate(corpus.lengths(RATE)) if samples > length]
    speech = [clips.read(row, start=0, samples=30 * RATE) for row in kept]
    weights = np.array([len(clip) for clip in speech], float)
    frames = length
    for _, kernel, stride in DEFAULT_CONV_LAYER_CONFIG:
        frames = (frames - kernel) // stride + 1
    if run:
        features = run.features()
        left, right = features.context
        params = run.arrays("frozen")["frozen"]["features"]
        encode, frames = jax.jit(features.encode), features.output_length(length)
    while True:
        waves = np.zeros((args.rows, length), np.int16)
        for wave, i in zip(waves, rng.choice(len(speech), args.rows, p=weights / weights.sum())):
            first = rng.integers(len(speech[i]) - length + 1)
            wave[:] = speech[i][first : first + length]
        if run:
            x = np.array(encode(params, np.pad(waves, ((0, 0), (left, right)))))
        else:
            x = (waves - waves.mean(1, keepdims=True)) / waves.std(1, keepdims=True)
        masked = masked_frames(rng, args.rows, frames)
        yield torch.from_numpy(x).float(), torch.from_numpy(masked)


def masked_frames(rng: np.random.Generator, rows: int, frames: int) -> np.ndarray:
    """Places of masked frames [rows, M]: spans that may overlap, as many in each row as in all."""
    spans, starts = round(SHARE * frames / SPAN), frames - SPAN + 1
    found = []
    for _ in range(rows):
        first = rng.choice(starts, spans, replace=False)
        found.append(np.unique(first[:, None] + np.arange(SPAN)))
    least = min(map(len, found))
    return np.stack([np.sort(rng.choice(places, least, replace=False)) for places in found])


def save_run(
    state: dict[str, torch.Tensor], run: reader.Checkpoint, args: argparse.Namespace
) -> None:
    """Write the encoder as a run with the surface features of another."""
    channels = state["feature_projection.layer_norm.weight"].shape[0]
    # The importer wants a convolutional front end; this one is thrown away again.
    front = {}
    for i, (_, kernel, _) in enumerate(DEFAULT_CONV_LAYER_CONFIG):
        shapes = {"conv.weight": (channels, channels if i else 1, kernel)}
        for name, shape in (shapes | dict.fromkeys(NORM, (channels,))).items():
            front[f"feature_extractor.conv_layers.{i}.{name}"] = np.ones(shape, np.float32)
    arrays = {name: value.numpy() for name, value in state.items()}
    encoder = dinosr.convert(arrays | front, network="student", heads=args.heads, gain=1.0)
    parts = {"ema": {}, "state": {}, "params": encoder.arrays["params"], **run.arrays("frozen")}
    config = dataclasses.replace(encoder.config, features=run.config.features)
    store.save_parts(str(args.out.absolute()), parts, config, 0, run.features().described)


if __name__ == "__main__":
    main()
