#!/usr/bin/env python
"""Error rates of a recogniser on speech with text, greedy and with an n-gram, and its speed.

    python tools/score_asr.py runs/asr --manifest data/dev.tsv --out results/dev
    python tools/score_asr.py runs/asr --manifest data/dev.tsv --lm lm.bin \
        --lm_weight 0.3,0.6,0.9,1.2 --word_score=-1,0,1

Several weights and scores of words are all tried; take the best of a development set to the test
set, one of each. OUT gets results.json, hypotheses.tsv and alignment.txt, which shows what was
heard in place of what.
"""

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.progress import track

from uniwav_jax.cli import AUDIO
from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.evaluation import word_error
from uniwav_jax.inference import align, codec_files, recognize
from uniwav_jax.text import alphabet


def main(argv: list[str]) -> int:
    """Hear everything once, decode it in every way; see the module docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="workdir of a run with task asr")
    parser.add_argument("--manifest", required=True, help="with a column text")
    parser.add_argument("--lm", help="n-gram of words, ARPA or kenlm's binary")
    for option, default, what in (
        ("--lm_weight", recognize.LM_WEIGHT, recognize.WEIGHT_HELP),
        ("--word_score", recognize.WORD_SCORE, recognize.SCORE_HELP),
    ):
        parser.add_argument(option, default=str(default), help=f"{what}; commas: several")
    parser.add_argument("--beam", type=int, default=100, help="hypotheses kept; default: 100")
    parser.add_argument("--batch_seconds", type=float, default=120.0, help="computed at once")
    parser.add_argument("--out", type=pathlib.Path, help="folder")
    args = parser.parse_args(argv)
    recognizer = recognize.Recognizer.load(args.checkpoint, batch_seconds=args.batch_seconds)
    clips = [pair for pair in align.pairs(args.manifest, AUDIO) if pair[2].strip()]
    rate = recognizer.features.sample_rate
    files = (
        (n, codec_files.read_blocks(path, sample_rate=rate)) for n, (path, *_) in enumerate(clips)
    )
    began, heard = time.perf_counter(), []
    for number, posteriors in track(recognizer.run(files), "", len(clips)):
        if isinstance(posteriors, UserError):
            raise UserError(f"{clips[number][0]}: {posteriors}")
        heard.append(posteriors)
    said = [alphabet.normalize(line, recognizer.config.text) for *_, line in clips]
    audio = sum(map(len, heard)) / recognizer.frame_rate
    results = {
        "command": " ".join(["python", *sys.argv]),
        "clips": len(clips),
        "audio_seconds": round(audio, 1),
        "listening_times_real_time": round(audio / (time.perf_counter() - began), 1),
        "decodings": [],
    }
    speed = results["listening_times_real_time"]
    print(f"{len(clips)} clips, {audio / 60:.1f} min of speech, heard {speed} times as fast")
    best = None
    for settings in decodings(args):
        words_of = decoder(recognizer, args, settings)
        began = time.perf_counter()
        texts = [" ".join(word.text for word in words_of(log_probs)) for log_probs in heard]
        seconds = time.perf_counter() - began
        words, characters = (m(said, texts) for m in (word_error.words, word_error.characters))
        row = dict(settings)
        for name, errors in {"wer": words, "cer": characters}.items():
            row[name] = round(errors.rate, 4)
            row[f"{name}_95"] = [round(bound, 4) for bound in errors.interval()]
        row["decoding_times_real_time"] = round(audio / seconds, 1)
        results["decodings"].append(row)
        print(json.dumps(row), flush=True)
        if best is None or words.rate < best[1].rate:
            best = row, words, texts
    row, words, texts = best
    print(f"lowest word error rate: {json.dumps(row)}")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        lines = zip((name for _, name, _ in clips), said, texts, strict=True)
        table = "".join("\t".join(line) + "\n" for line in lines)
        for name, content in {
            "results.json": json.dumps(results, indent=1) + "\n",
            "hypotheses.tsv": "path\ttext\theard\n" + table,
            "alignment.txt": words.alignment,
        }.items():
            (args.out / name).write_text(content, encoding="utf-8")
    return 0


def decodings(args: argparse.Namespace) -> list[dict[str, float]]:
    """Settings to try: {} is greedy."""
    if not args.lm:
        return [{}]
    weights, scores = (
        [float(value) for value in values.split(",")]
        for values in (args.lm_weight, args.word_score)
    )
    return [{}, *({"lm_weight": w, "word_score": s} for w in weights for s in scores)]


def decoder(
    recognizer: recognize.Recognizer, args: argparse.Namespace, settings: dict[str, float]
) -> Callable[[np.ndarray], list[recognize.Word]]:
    """From log-probabilities [T, V + 1] to words."""
    if not settings:
        return recognizer.greedy
    return recognize.Beam(
        recognizer,
        args.lm,
        weight=settings["lm_weight"],
        word_score=settings["word_score"],
        width=args.beam,
    ).words


if __name__ == "__main__":
    run_tool(main)
