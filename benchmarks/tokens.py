"""Compares speech to tokens with MimiModel and SpeechTokenizer: speed, and peak memory.

    python benchmarks/tokens.py --out benchmarks/results/tokens.json

All have random weights, float32 and the same threads, and code the same seconds of noise: ours of
size small with two books on the installed codec's latents, transformers' MimiModel with its
published configuration (24 kHz, eight books), and `speechtokenizer` with its published one (16 kHz,
eight books). The peers run in PyTorch, eagerly, and Mimi also compiled; the compiled encoder of
SpeechTokenizer took more than 40 s a call here (torch 2.13.0), in every call. Each
side is a process of its own, because the threads of one would disturb another, and runs alternate;
one process codes at a time. The peak memory is that of the process. Needs torch, transformers and,
without its dependencies, speechtokenizer, with einops and beartype.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
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
    parser.add_argument("--side", choices=SIDES, help="be this side: code once for each line read")
    parser.add_argument("--out")
    args = parser.parse_args()
    if args.side:
        serve(SIDES[args.side](args))
        return
    result = {"device": peers.device_name(), "jax": jax.__version__, "threads": args.threads}
    result |= {"rows": args.rows, "seconds": args.seconds, "repeats": args.repeats}
    with contextlib.ExitStack() as stack:
        sides: dict[str, subprocess.Popen[str]] = {}
        for name in SIDES:
            words = [sys.executable, __file__, *sys.argv[1:], "--side", name]
            pipe, errors = subprocess.PIPE, stack.enter_context(tempfile.TemporaryFile("w+"))
            side = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=errors, text=True)
            stack.callback(side.kill)
            sides[name] = side
            if not ask(side, name):  # until it has coded once
                errors.seek(0)
                result[name] = f"does not run: {errors.read().splitlines()[-1][:120]}"
                del sides[name]
        times = {name: [] for name in sides}
        for _ in range(args.repeats):
            for name, side in sides.items():
                times[name].append(float(ask(side, name)))
        for name in list(sides)[1:]:
            result[name] = peers.compare((times[name], times["ours"]), args.seconds * args.rows)
            print(f"{name}: {result[name]}")
        result["peak_mib"] = {name: round(float(ask(sides[name], "peak"))) for name in sides}
    print(f"peak memory in MiB: {result['peak_mib']}")
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=2) + "\n")


def serve(code: Side) -> None:
    """Answer each line that is read: "peak" with MiB of memory, others with a run's seconds.

    The first answer comes after two runs that compile and load what is needed.
    """
    code()
    code()
    for line in sys.stdin:
        if line == "peak\n":  # the kernel's ru_maxrss also counts the process that starts this one
            status = pathlib.Path("/proc/self/status").read_text()
            print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024, flush=True)
            continue
        began = time.perf_counter()
        code()
        print(time.perf_counter() - began, flush=True)


def ask(side: "subprocess.Popen[str]", line: str) -> str:
    """The answer of a side to a line; "" if the process has ended."""
    with contextlib.suppress(BrokenPipeError):
        print(line, file=side.stdin, flush=True)
    return side.stdout.readline()


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


def speechtokenizer(args: argparse.Namespace) -> Side:
    """SpeechTokenizer.encode."""
    import torch

    torch.set_num_threads(args.threads)
    # Packages that only its training and its reading of files need.
    absent = ("torchaudio", "accelerate", "lion_pytorch", "speechtokenizer.trainer")
    sys.modules.update({name: mock.MagicMock() for name in absent})
    from speechtokenizer.model import SpeechTokenizer

    model = SpeechTokenizer(SPEECHTOKENIZER).eval()
    audio = torch.from_numpy(_audio(args, 16000))[:, None]
    return _without_gradient(lambda: model.encode(audio))


def _without_gradient(run: Side) -> Side:
    import torch

    def side() -> object:
        with torch.inference_mode():
            return run()

    return side


def _audio(args: argparse.Namespace, rate: int) -> np.ndarray:
    samples = round(rate * args.seconds)
    return 0.1 * np.random.default_rng(0).standard_normal((args.rows, samples)).astype(np.float32)


SIDES = {
    "ours": ours_side,
    "mimi, eager": mimi,
    "mimi, compiled": functools.partial(mimi, compiled=True),
    "speechtokenizer, eager": speechtokenizer,
}

if __name__ == "__main__":
    main()
