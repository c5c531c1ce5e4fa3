"""Trains an encoder with `spidr` for some CPU minutes, to compare what it learns with ours.

    python benchmarks/spidr_peer.py --manifest train.tsv --minutes 10 --out peer.safetensors
    uniwav import model peer.safetensors --heads 4 --out runs/peer
    uniwav evaluate units --checkpoint runs/peer --manifest ALIGNED.tsv --alignments FOLDER
    uniwav train --config=ablations/asr --config.init_from=runs/peer ...

The model is `spidr`'s own, DinoSR or SpidR, from waveforms, with its share and length of masks,
optimizer and clipping.
Its schedules, which are made for 400k updates, run over the CPU time instead; --ema_fixed keeps the
teacher's decay at its published first value, because horizons shorter than the run by so much make
small models collapse. OUT gets the state dict, and OUT.json the curve. It needs torch and spidr;
see tests/requirements-oracles.txt.
"""

import argparse
import json
import math
import pathlib
import time
from collections.abc import Iterator

import numpy as np
import peers
import torch
from safetensors.torch import save_file
from spidr.config import DEFAULT_CONV_LAYER_CONFIG, DinoSRConfig, SpidRConfig
from spidr.models import DinoSR, SpidR

from uniwav_jax.data import manifest, sources

RATE, PLANNED = 16000, 400_000  # updates of spidr's own schedules
WARMUP, HOLD, LAST = 12_000 / PLANNED, 188_000 / PLANNED, 0.01  # shares of them; final scale
SHARE, SPAN = 0.8, 10  # of frames to mask, if spans did not overlap, and frames of a span
BETAS, EPSILON, DECAY, CLIP = (0.9, 0.95), 1e-6, 0.01, 10.0  # as in its OptimizerConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--manifest", required=True)
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
    model, curve = train(args)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, args.out)
    settings = {name: str(value) for name, value in vars(args).items()}
    document = {"device": peers.device_name(), "torch": torch.__version__} | settings
    lines = [json.dumps(entry) for entry in (document, *curve)]
    args.out.with_suffix(".jsonl").write_text("\n".join(lines) + "\n")


def train(args: argparse.Namespace) -> tuple[DinoSR, list[dict[str, float]]]:
    """Train until the CPU time is used; the mean of each tenth of it is a point of the curve."""
    torch.manual_seed(args.seed)
    config, kind = {"dinosr": (DinoSRConfig, DinoSR), "spidr": (SpidRConfig, SpidR)}[args.model]
    model = kind(
        config(
            encoder_embed_dim=args.width,
            encoder_num_layers=args.layers,
            encoder_num_heads=args.heads,
            encoder_ff_interm_features=args.ffn,
            num_codebooks=min(8, args.layers),
        )
    ).train()
    trained = [p for name, p in model.named_parameters() if not name.startswith("teacher")]
    optimizer = torch.optim.AdamW(trained, args.lr, BETAS, EPSILON, DECAY, fused=True)
    batches = crops(args)
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


def crops(args: argparse.Namespace) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of normalised crops [rows, samples], and the places of their masked frames."""
    corpus = manifest.load(args.manifest, cache=str(args.out.parent))
    reader = sources.ClipReader(corpus, sample_rate=RATE)
    length, rng = round(args.seconds * RATE), np.random.default_rng(args.seed)
    kept = [row for row, samples in enumerate(corpus.lengths(RATE)) if samples > length]
    speech = [reader.read(row, start=0, samples=30 * RATE) for row in kept]
    weights = np.array([len(clip) for clip in speech], float)
    frames = length
    for _, kernel, stride in DEFAULT_CONV_LAYER_CONFIG:
        frames = (frames - kernel) // stride + 1
    while True:
        rows = []
        for i in rng.choice(len(speech), args.rows, p=weights / weights.sum()):
            first = rng.integers(len(speech[i]) - length + 1)
            rows.append(torch.from_numpy(speech[i][first : first + length] / 2.0**15).float())
        waves = torch.stack([torch.nn.functional.layer_norm(row, row.shape) for row in rows])
        yield waves, torch.from_numpy(masked_frames(rng, args.rows, frames))


def masked_frames(rng: np.random.Generator, rows: int, frames: int) -> np.ndarray:
    """Places of masked frames [rows, M]: spans that may overlap, as many in each row as in all."""
    spans, starts = round(SHARE * frames / SPAN), frames - SPAN + 1
    found = []
    for _ in range(rows):
        first = rng.choice(starts, spans, replace=False)
        found.append(np.unique(first[:, None] + np.arange(SPAN)))
    least = min(map(len, found))
    return np.stack([np.sort(rng.choice(places, least, replace=False)) for places in found])


if __name__ == "__main__":
    main()
