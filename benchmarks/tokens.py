"""Compares speech to tokens with MimiModel and SpeechTokenizer: speed, and peak memory.

    python benchmarks/tokens.py --out benchmarks/results/tokens.json

All have random weights, float32 and the same threads, and code the same seconds of noise: ours of
size small with two books on the installed codec's latents, transformers' MimiModel with its
published configuration (24 kHz, eight books), and `speechtokenizer` with its published one (16 kHz,
eight books). The peers run in PyTorch, eagerly and compiled by torch.compile where that works.
Runs alternate. The peak memory is that of a process which loads one side and codes once. Needs
torch, transformers and, without its dependencies, speechtokenizer, with einops.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from unittest import mock

import jax
import numpy as np
import peers

SPEECHTOKENIZER = {
    **{"n_filters": 64, "strides": [8, 5, 4, 2], "dimension": 1024, "semantic_dimension": 768},
    **{"bidirectional": True, "dilation_base": 2, "residual_kernel_size": 3},
    **{"n_residual_layers": 1, "lstm_layers": 2, "activation": "ELU", "codebook_size": 1024},
    **{"n_q": 8, "sample_rate": 16000},
}
Side = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", choices=SIDES, help="code once and print the peak in MiB")
    parser.add_argument("--out")
    args = parser.parse_args()
    if args.memory:
        SIDES[args.memory](args)()
        # The kernel's ru_maxrss also counts the process that starts this one.
        status = pathlib.Path("/proc/self/status").read_text()
        print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024)
        return
    result = {"device": peers.device_name(), "jax": jax.__version__, "threads": args.threads}
    result |= {"rows": args.rows, "seconds": args.seconds}
    ours = ours_side(args)
    for name, make in list(SIDES.items())[1:]:
        for kind in ("eager", "compiled"):
            key = f"{name}, {kind}"
            try:
                theirs = make(args, compiled=kind == "compiled")
                times = peers.alternate(theirs, ours, args.repeats)
            except Exception as error:  # torch.compile raises errors of many types
                result[key] = f"does not run: {str(error).splitlines()[0][:120]}"
            else:
                result[key] = peers.compare(times, args.seconds * args.rows)
            print(f"{key}: {result[key]}", flush=True)
    result["peak_mib"] = {name: round(_peak(name, args)) for name in SIDES}
    print(f"peak memory in MiB: {result['peak_mib']}")
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=2) + "\n")


def ours_side(args: argparse.Namespace) -> Side:
    """Our tokenizer of size small on the installed codec."""
    from uniwav_jax import features as features_lib
    from uniwav_jax.config import default_config, from_dict
    from uniwav_jax.inference.tokenizer import Tokenizer
    from uniwav_jax.tasks import tokenizer

    values = default_config("small")
    values.task, values.init_from = "tokenizer", "random weights"
    values.tokenizer.books, values.tokenizer.layer = 2, 8
    values.data.buckets = (args.seconds,)
    config = from_dict(values)
    features = features_lib.build(config.features)
    params, state = jax.jit(lambda: tokenizer.init(jax.random.key(0), config, features.channels))()
    params = {name: params[name] for name in ("encoder", "condition", "tokens")}
    zeros = np.zeros(features.channels, np.float32)
    arrays = {"params": {**params, "books": state["books"]}}
    arrays["features"] = {**features.weights, "mean": zeros, "std": zeros + 1}
    coder = Tokenizer(config, arrays, features=features)
    clips = [(row, [wave]) for row, wave in enumerate(_audio(args, 16000))]
    return lambda: [found["codes"] for _, found in coder.run(clips, few=True)]


def mimi(args: argparse.Namespace, *, compiled: bool = False) -> Side:
    """MimiModel.encode."""
    import torch
    import transformers

    torch.set_num_threads(args.threads)
    model = transformers.MimiModel(transformers.MimiConfig()).eval()
    audio = torch.from_numpy(_audio(args, model.config.sampling_rate))[:, None]
    if compiled:  # the method as a whole is compiled anew at every call, for minutes
        # The encoder is cut at each convolution, see findings/mimi_compile_graphs.sh.
        torch._dynamo.config.recompile_limit = 64
        model.encoder.compile()
        model.encoder_transformer.compile()
    return _without_gradient(lambda: model.encode(audio).audio_codes)


def speechtokenizer(args: argparse.Namespace, *, compiled: bool = False) -> Side:
    """SpeechTokenizer.encode."""
    import torch

    torch.set_num_threads(args.threads)
    # Packages that only its training and its reading of files need.
    absent = ("torchaudio", "accelerate", "lion_pytorch", "speechtokenizer.trainer")
    stubs = {name: mock.MagicMock() for name in absent}
    with mock.patch.dict(sys.modules, stubs):
        from speechtokenizer.model import SpeechTokenizer

    model = SpeechTokenizer(SPEECHTOKENIZER).eval()
    audio = torch.from_numpy(_audio(args, 16000))[:, None]
    encode = torch.compile(model.encode) if compiled else model.encode
    return _without_gradient(lambda: encode(audio))


def _without_gradient(run: Side) -> Side:
    import torch

    def side() -> object:
        with torch.inference_mode():
            return run()

    return side


def _audio(args: argparse.Namespace, rate: int) -> np.ndarray:
    samples = round(rate * args.seconds)
    return 0.1 * np.random.default_rng(0).standard_normal((args.rows, samples)).astype(np.float32)


def _peak(name: str, args: argparse.Namespace) -> float:
    words = [sys.executable, __file__, "--memory", name, "--threads", str(args.threads)]
    words += ["--seconds", str(args.seconds), "--rows", str(args.rows)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


SIDES = {"ours": ours_side, "mimi": mimi, "speechtokenizer": speechtokenizer}

if __name__ == "__main__":
    main()
