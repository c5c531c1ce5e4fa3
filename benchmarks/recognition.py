"""Measures the speed and memory of recognition.

    python benchmarks/recognition.py --checkpoint runs/asr --manifest dev.tsv --lm lm.bin \
        --out benchmarks/results/recognition.json

It measures the network (features, encoder and head) of the sizes tiny and base with random weights;
decoding of the checkpoint's outputs greedily, with a beam, and with a beam and an n-gram, compared
with direct calls of pyctcdecode; and the peak memory of `uniwav transcribe` for files of 6 and 60
minutes. The real-time factor is the number of seconds needed for a second of speech.
"""

import argparse
import functools
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
import peers
import soundfile

import uniwav_jax
from uniwav_jax.audio import SUFFIXES
from uniwav_jax.config import from_dict, recognition_config
from uniwav_jax.inference import align, codec_files, recognize
from uniwav_jax.tasks import asr
from uniwav_jax.text.alphabet import SPACE

RATE = 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True, help="workdir of a run with task asr")
    parser.add_argument("--manifest", required=True, help="speech")
    parser.add_argument("--lm", required=True, help="n-gram of words")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of speech to use")
    parser.add_argument("--sizes", default="tiny,base")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out")
    args = parser.parse_args()
    clips, total = [], 0
    for path, *_ in align.pairs(args.manifest, SUFFIXES):
        if total >= 60 * args.minutes * RATE:
            break
        clips.append(np.concatenate(list(codec_files.read_blocks(path, sample_rate=RATE))))
        total += len(clips[-1])
    seconds = total / RATE
    result = {"device": peers.device_name(), "jax": jax.__version__, "audio_seconds": seconds}
    result["network_rtf"] = {}
    for size in args.sizes.split(","):
        result["network_rtf"][size] = network(random_model(size), clips, args.repeats)
        print(f"network, {size}: {result['network_rtf'][size]}", flush=True)
    result["decoding"] = decoding(args, clips, seconds)
    print(f"decoding: {result['decoding']}", flush=True)
    result["peak_megabytes"] = {
        minutes: memory(args.checkpoint, clips, minutes) for minutes in (6, 60)
    }
    print(f"peak memory by minutes: {result['peak_megabytes']}", flush=True)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=2) + "\n")


def random_model(size: str) -> recognize.Recognizer:
    """An untrained model of a size."""
    settings = recognition_config(size)
    settings.features.kind = "log_mel"
    settings.asr.freeze_steps, settings.model.compute_dtype = 0, "float32"
    settings.text.symbols = ("'", *map(chr, range(ord("a"), ord("z") + 1)), SPACE)
    config = from_dict(settings)
    channels = config.features.mel_bands
    params, _ = asr.init(jax.random.key(0), config, channels)
    scale = {"mean": np.zeros(channels, np.float32), "std": np.ones(channels, np.float32)}
    return recognize.Recognizer(config, {"params": params, "features": scale})


def network(model: recognize.Recognizer, clips: list, repeats: int) -> dict[str, float]:
    """Real-time factors of the network: of the first pass, which compiles, and of later ones."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        frames = sum(len(p) for _, p in model.run(enumerate([clip] for clip in clips)))
        times.append((time.perf_counter() - began) * model.frame_rate / frames)
    first, *later = (round(value, 4) for value in times)
    return {"first": first, "median": round(float(np.median(later)), 4), "all": later}


def decoding(args: argparse.Namespace, clips: list, seconds: float) -> dict[str, dict]:
    """Real-time factors of decoding; `ratio` is pyctcdecode's time divided by ours."""
    model = uniwav_jax.load(args.checkpoint).recognizer
    outputs = [p for _, p in model.run(enumerate([clip] for clip in clips))]
    began = time.perf_counter()
    for log_probs in outputs:
        model.greedy(log_probs)
    rows = {"greedy": {"rtf": (time.perf_counter() - began) / seconds}}
    for name, lm in {"beam 100": None, "beam 100, n-gram": args.lm}.items():
        beam = recognize.Beam(model, lm)
        theirs = functools.partial(beam.decoder.decode, beam_width=100)
        sides = (functools.partial(_each, decode, outputs) for decode in (theirs, beam.words))
        times = peers.alternate(*sides, args.repeats)
        each = [a / b for a, b in zip(*times, strict=True)]
        rows[name] = {
            "rtf": np.median(times[1]) / seconds,
            "rtf_pyctcdecode": np.median(times[0]) / seconds,
            "ratio": [min(each), float(np.median(each)), max(each)],
        }
    return json.loads(json.dumps(rows), parse_float=lambda text: float(f"{float(text):.4g}"))


def _each(decode: Callable[[np.ndarray], object], outputs: list[np.ndarray]) -> None:
    for log_probs in outputs:
        decode(log_probs)


def memory(checkpoint: str, clips: list, minutes: int) -> float:
    """Peak resident memory of `uniwav transcribe` on one file, in megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "long.flac"
        with soundfile.SoundFile(path, "w", RATE, 1) as file:
            for clip in itertools.cycle(clips):
                file.write(clip)
                if file.frames >= minutes * 60 * RATE:
                    break
        command = [sys.executable, "-c", CHILD, "transcribe", str(path)]
        command += ["--checkpoint", checkpoint, "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return round(int(re.search(r"peak (\d+)", done.stdout)[1]) / 1024, 1)


CHILD = """
import re, sys
from uniwav_jax import cli
status = cli.main(sys.argv[1:])
# getrusage is not used, because it includes the memory of the parent process.
print("peak", re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
sys.exit(status)
"""

if __name__ == "__main__":
    main()
