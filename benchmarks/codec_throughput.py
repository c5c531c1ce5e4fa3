"""Compares our SEANet with PyTorch's `encodec`: seconds of audio encoded and decoded per second.

    python benchmarks/codec_throughput.py --out benchmarks/results/codec_throughput.json

Both sides use the same random weights (ours are imported, and the outputs must agree), shapes,
float32 and number of threads. Runs of the two alternate, so that other load on the machine affects
both. It needs torch and encodec; see tests/requirements-oracles.txt.
"""

import argparse
import json
import os
import pathlib
import sys
import types

import jax
import numpy as np
import peers
import torch

from uniwav_jax.codec import importers
from uniwav_jax.codec.network import Codec

# encodec imports torchaudio to read files, which is not needed here.
sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))
from encodec.modules import SEANetDecoder, SEANetEncoder  # noqa: E402

VARIANTS = {
    "encodec": {"n_filters": 32, "causal": True},
    "audiogen": {"n_filters": 64, "pad_mode": "constant", "true_skip": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each row in s")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    audio = np.random.default_rng(0).normal(size=(args.rows, int(16000 * args.seconds)))
    audio = (0.1 * audio).astype(np.float32)
    result = {
        "device": peers.device_name(),
        "threads": args.threads,
        "jax": jax.__version__,
        "torch": torch.__version__,
        "rows": args.rows,
        "seconds": args.seconds,
    }
    for name, settings in VARIANTS.items():
        result[name] = compare(audio, settings, args.repeats)
        for part, figures in result[name].items():
            print(f"{name} {part}: {figures}", flush=True)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=2) + "\n")


def compare(audio: np.ndarray, settings: dict, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of audio per second of both sides, and their ratio, for encoder and decoder.

    Args:
        audio: float32 [rows, samples] at 16 kHz.
        settings: arguments of encodec's modules.
        repeats: timed runs of each side.
    """
    torch.manual_seed(0)
    encoder, decoder = SEANetEncoder(**settings).eval(), SEANetDecoder(**settings).eval()
    state = {
        f"{part}.{name}": value.numpy()
        for part, module in (("encoder", encoder), ("decoder", decoder))
        for name, value in module.state_dict().items()
    }
    structure = {"sample_rate": 16000, "causal": settings.get("causal", False)}
    structure["padding"] = settings.get("pad_mode", "reflect")
    config, params = importers.convert(state, structure)
    variables = {"params": jax.device_put(params["network"])}
    apply = jax.jit(Codec(config).apply, static_argnames="method")
    with torch.inference_mode():
        audio_torch = torch.from_numpy(audio)[:, None]
        z_torch = encoder(audio_torch)
        z = np.ascontiguousarray(z_torch.numpy().transpose(0, 2, 1))
        sides = {
            "encode": (
                lambda: encoder(audio_torch),
                lambda: apply(variables, audio, method="encode").block_until_ready(),
            ),
            "decode": (
                lambda: decoder(z_torch),
                lambda: apply(variables, z, method="decode").block_until_ready(),
            ),
        }
        agreement = np.abs(np.asarray(sides["encode"][1]()) - z).max() / np.abs(z).max()
        if not agreement < 1e-4:
            raise AssertionError(f"the outputs of the two sides differ by {agreement}")
        seconds = audio.size / 16000
        table = {}
        for part, (theirs, ours) in sides.items():
            table[part] = peers.compare(peers.alternate(theirs, ours, repeats), seconds)
    return table


if __name__ == "__main__":
    main()
