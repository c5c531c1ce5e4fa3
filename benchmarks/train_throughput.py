"""Compares a training step with PyTorch peers: seconds of audio per second, on the same device.

    python benchmarks/train_throughput.py --out benchmarks/results/train_throughput.json

For each size there are three comparisons, with random weights and data on both sides:

- features: `spidr`'s DinoSR on given feature frames, and our step with flow.weight = 0;
- full: the same from waveforms (with its convolutional front end), and our whole joint step;
- hubert: forward and backward pass of the encoder of transformers' HubertModel, and of ours.

spidr runs as in its own train.py: fused AdamW, clipping, teacher and codebook updates, autocast for
bfloat16. It needs torch, spidr and transformers; see tests/requirements-oracles.txt.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves memory to torch

import jax
import jax.numpy as jnp
import numpy as np
import peers
import torch
from spidr.config import DinoSRConfig
from spidr.models import DinoSR
from transformers import HubertConfig, HubertModel

from uniwav_jax import features as features_lib
from uniwav_jax.config import Config, default_config, from_dict
from uniwav_jax.models import uniwav
from uniwav_jax.parallel import mesh as mesh_lib
from uniwav_jax.tasks import pretrain
from uniwav_jax.train import step as step_lib
from uniwav_jax.types import Batch

RATE, FRAME_RATE, CHANNELS = 16000, 50, 80
SIZES = {"4x256": (4, 256, 4, 1024), "base": (12, 768, 12, 3072), "large": (24, 1024, 16, 4096)}
# Peak of dense bfloat16 matmuls in FLOPs per second (vendor's data sheets).
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Side = Callable[[], object]


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        side = build(args.part, args.size, args)[args.memory_of]
        for _ in range(3):
            side()
        print(json.dumps(peak_memory(args.memory_of)))
        return
    result = {
        "device": peers.device_name(),
        "jax": jax.__version__,
        "torch": torch.__version__,
        "rows": args.rows,
        "seconds": args.seconds,
        "precision": args.precision,
        "remat": args.remat,
        "torch_compile": args.compile,
    }
    out = pathlib.Path(args.out or os.devnull)
    if args.out and out.exists():  # keep rows of an earlier run with the same settings
        earlier = json.loads(out.read_text())
        if {name: earlier.get(name) for name in result} == result:
            result = earlier
    seconds = args.rows * args.seconds
    for size in args.sizes.split(","):
        for part in args.parts.split(","):
            theirs, ours = build(part, size, args).values()
            times = peers.alternate(theirs, ours, args.repeats)
            table = peers.compare(times, seconds)
            for name in ("torch", "ours"):
                table[f"{name}_peak_bytes"] = measure_memory(part, size, name)
            if part != "hubert":
                table |= utilisation(configuration(part, size, args), table["ours"])
            result[f"{part} {size}"] = {**table, "repeats": args.repeats}
            print(f"{part} {size}: {table}", flush=True)
            out.write_text(json.dumps(result, indent=2) + "\n")
            jax.clear_caches()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="4x256,base", help=", ".join(SIZES))
    parser.add_argument("--parts", default="features,full,hubert")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each row in s")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--remat", default="none", choices=("none", "dots", "attention", "full"))
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="torch eager")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", help="JSON file; earlier rows with the same settings are kept")
    parser.add_argument("--memory_of", choices=("torch", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    return parser.parse_args()


def build(part: str, size: str, args: argparse.Namespace) -> dict[str, Side]:
    """{side: function that makes one update and waits for it}, for "torch" and "ours"."""
    wanted = args.memory_of
    sides = {
        "features": {"torch": spidr_step, "ours": our_step},
        "full": {"torch": spidr_step, "ours": our_step},
        "hubert": {"torch": hubert_gradient, "ours": our_gradient},
    }[part]
    return {n: make(part, size, args) for n, make in sides.items() if wanted in (None, n)}


def configuration(part: str, size: str, args: argparse.Namespace) -> Config:
    layers, width, heads, ffn = SIZES[size]
    config = default_config("large" if size == "large" else "base")
    config.model.encoder.update(layers=layers, width=width, heads=heads, ffn=ffn, norm="post")
    config.model.encoder.update(dropout=0.1, attention_dropout=0.1, layer_drop=0.05)
    config.model.decoder.update(width=width, heads=heads, ffn=width * 8 // 3)
    config.model.update(compute_dtype=args.precision, remat=args.remat)
    config.features.kind = "log_mel"  # the peers have no codec
    config.distillation.update(top_layers=min(8, layers), prediction="dinosr")
    config.data.update(buckets=(args.seconds,), batch_seconds=args.seconds * args.rows)
    config.data.row_multiple = args.rows
    if part != "full":
        config.flow.weight = 0.0
        config.model.decoder.update(layers=2, width=8, heads=1, ffn=8)
    return from_dict(config)


def our_step(part: str, size: str, args: argparse.Namespace) -> Side:
    config = configuration(part, size, args)
    features = features_lib.build(config.features)
    mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
    rng = np.random.default_rng(0)
    samples = int(args.seconds * RATE)
    audio = latents = None
    if part == "full":
        audio = (3000 * rng.normal(size=(args.rows, samples))).astype(np.int16)
    else:
        shape = (args.rows, int(args.seconds * FRAME_RATE), CHANNELS)
        latents = rng.normal(size=shape).astype(np.float16)
    with jax.set_mesh(mesh):
        statistics = {"mean": np.zeros(CHANNELS), "std": np.ones(CHANNELS)}
        state, shardings = step_lib.init_state(pretrain.TASK, config, features, statistics, mesh)
        update = step_lib.make_train_step(pretrain.TASK, config, features, mesh, shardings)
    rows, bad = np.full(args.rows, samples, np.int32), np.zeros(args.rows, bool)
    batch = jax.device_put(Batch(audio, rows, bad, latents=latents))
    current = [state]

    def run() -> None:
        with jax.set_mesh(mesh):
            current[0], metrics = update(current[0], batch)
        jax.block_until_ready((current[0], metrics))

    return run


def spidr_step(part: str, size: str, args: argparse.Namespace) -> Side:
    layers, width, heads, ffn = SIZES[size]
    settings = {} if part == "full" else {"extractor_conv_layer_config": [(CHANNELS, 10, 5)]}
    torch.manual_seed(0)
    model = DinoSR(
        DinoSRConfig(
            encoder_embed_dim=width,
            encoder_num_layers=layers,
            encoder_num_heads=heads,
            encoder_ff_interm_features=ffn,
            num_codebooks=min(8, layers),
            **settings,
        )
    )
    if part != "full":
        model.feature_extractor = torch.nn.Identity()
    model = model.to(DEVICE).train()
    trained = [p for name, p in model.named_parameters() if not name.startswith("teacher")]
    optimizer = torch.optim.AdamW(trained, lr=5e-4, betas=(0.9, 0.95), fused=True)
    if args.compile:
        model.compile(dynamic=False)
    if part == "full":
        x = 0.1 * torch.randn(args.rows, int(args.seconds * RATE))
        frames = (x.shape[1] - 400) // 320 + 1
    else:
        frames = int(args.seconds * FRAME_RATE)
        x = torch.randn(args.rows, frames, CHANNELS)
    masked = torch.rand(args.rows, frames).argsort(1)[:, : round(0.57 * frames)].sort(1)[0]
    x, masked = x.to(DEVICE), masked.to(DEVICE)
    count = [0]

    def run() -> None:
        half = args.precision == "bfloat16"
        with torch.autocast(DEVICE.type, torch.bfloat16, half):
            loss, _ = model(x, mask_indices=masked)
        (loss.sum() / masked.numel()).backward()
        torch.nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        count[0] += 1
        model.update_ema(count[0])
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return run


def our_gradient(part: str, size: str, args: argparse.Namespace) -> Side:
    config = configuration(part, size, args)
    params = uniwav.encoder_module(config)
    x = np.random.default_rng(0).normal(size=_frames(args)).astype(np.float32)
    mask = jnp.ones(x.shape[:2], bool)
    weights = params.init(jax.random.key(0), x, mask)
    x = jax.device_put(x)

    @jax.jit
    def gradient(weights: dict, x: jax.Array, key: jax.Array) -> dict:
        def total(weights: dict) -> jax.Array:
            return params.apply(weights, x, mask, key=key).final.astype(jnp.float32).sum()

        return jax.grad(total)(weights)

    return lambda: jax.block_until_ready(gradient(weights, x, jax.random.key(1)))


def hubert_gradient(part: str, size: str, args: argparse.Namespace) -> Side:
    del part
    layers, width, heads, ffn = SIZES[size]
    torch.manual_seed(0)
    model = HubertModel(
        HubertConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=ffn,
            layerdrop=0.05,
            attn_implementation="sdpa",
        )
    )
    encoder = model.encoder.to(DEVICE).train()
    project = torch.nn.Linear(CHANNELS, width, device=DEVICE)
    x = torch.randn(_frames(args), device=DEVICE)
    if args.compile:
        encoder.compile(dynamic=False)

    def run() -> None:
        half = args.precision == "bfloat16"
        with torch.autocast(DEVICE.type, torch.bfloat16, half):
            encoder(project(x)).last_hidden_state.sum().backward()
        encoder.zero_grad(set_to_none=True)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return run


def _frames(args: argparse.Namespace) -> tuple[int, int, int]:
    return args.rows, int(args.seconds * FRAME_RATE), CHANNELS


def measure_memory(part: str, size: str, side: str) -> int:
    """Peak memory of one side in bytes, measured in a separate process."""
    command = [sys.executable, *sys.argv, "--memory_of", side, "--part", part, "--size", size]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory(side: str) -> int:
    """Peak of the accelerator's memory in bytes; on CPU that of the process, with imports."""
    if DEVICE.type == "cuda" and side == "torch":
        return torch.cuda.max_memory_allocated()
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats["peak_bytes_in_use"]
    # getrusage is not used, because it includes the memory of the forking parent.
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def utilisation(config: Config, speed: float) -> dict[str, float]:
    """Model FLOPs per second of our step, and their share of the accelerator's peak."""
    flops = speed * uniwav.train_flops_per_second(config, CHANNELS, FRAME_RATE)
    known = [peak for name, peak in PEAK.items() if name in peers.device_name()]
    table = {"ours_flops": round(flops)}
    return table | {"ours_mfu": round(flops / known[0], 3)} if known else table


if __name__ == "__main__":
    main()
