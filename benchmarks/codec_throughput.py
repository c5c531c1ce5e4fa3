"""Compares our SEANet with PyTorch's `encodec`: seconds of audio encoded and decoded per second.

    python benchmarks/codec_throughput.py --out benchmarks/results/codec_throughput.json

Both sides use the same random weights (ours are imported, and the outputs must agree), shapes,
float32 and number of threads. Runs of the two alternate, so that other load on the machine affects
both. The installed codec is compared with encodec's SEANet of the default size and with
Lyra's structure, both ways in JAX, in the same manner. It needs torch and encodec; see
tests/requirements-oracles.txt.
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

from uniwav_jax.codec import files, importers
from uniwav_jax.codec.config import LyraConfig
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
    for part, figures in compare_installed(audio, args.repeats).items():
        result[f"installed_{part}"] = figures
        print(f"installed {part}: {figures}", flush=True)
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


def compare_installed(audio: np.ndarray, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds of audio per second of encodec's SEANet, of Lyra and of the installed codec.

    Args:
        audio: float32 [rows, samples] at 16 kHz.
        repeats: timed runs of each side.

    Returns:
        {"encode" and "decode": {"to_seanet" and "to_lyra": figures, where the installed codec is
        "ours"}}.
    """
    mdct, params = files.load("codec")
    lyra = LyraConfig(codebooks=0)
    random = np.random.default_rng(0)
    zeros = jax.tree.map(
        lambda leaf: 0.05 * random.normal(size=leaf.shape).astype(np.float32),
        files.parameters(lyra),
    )
    encoder, decoder = SEANetEncoder().eval(), SEANetDecoder().eval()
    table = {}
    with torch.inference_mode():
        audio_torch = torch.from_numpy(audio)[:, None]
        z_torch = encoder(audio_torch)
        for part in ("encode", "decode"):
            sides = []
            for config, network in ((mdct, params["network"]), (lyra, zeros["network"])):
                value = audio
                if part == "decode":
                    shape = (len(audio), audio.shape[1] // config.hop, config.dimension)
                    value = random.normal(size=shape).astype(np.float32)
                apply = jax.jit(Codec(config).apply, static_argnames="method")
                variables = {"params": jax.device_put(network)}
                sides.append(
                    lambda apply=apply, variables=variables, value=value, part=part: apply(
                        variables, value, method=part
                    ).block_until_ready()
                )
            seanet = {"encode": lambda: encoder(audio_torch), "decode": lambda: decoder(z_torch)}
            others = {"to_seanet": seanet[part], "to_lyra": sides[1]}
            table[part] = {
                name: peers.compare(peers.alternate(other, sides[0], repeats), audio.size / 16000)
                for name, other in others.items()
            }
    return table


if __name__ == "__main__":
    main()
