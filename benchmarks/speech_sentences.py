"""Counts skipped, repeated and misunderstood words in sentences that are hard for text to speech.

    python benchmarks/speech_sentences.py --checkpoint mini-tts --manifest held_out.tsv \
        --out benchmarks/results/speech/sentences.json

A single word, numbers, dates and sentences of 60 words are spoken in the voice of a clip of
each speaker of the manifest, with several seeds, and heard by Whisper tiny.en. Both texts are
written as they are spoken and aligned word by word: deleted words are called skipped, inserted ones
that equal a neighbour repeated. Whisper errs as well, so every transcript with an error is kept.
"""

import argparse
import json
import pathlib
import tempfile
from typing import Any

import jiwer

from uniwav_jax import api
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.evaluation import judges
from uniwav_jax.evaluation import speech as speech_lib
from uniwav_jax.text import frontend, spoken

COUNTS = ("words", "skipped", "repeated", "inserted", "misunderstood")
ENGLISH = frontend.load("english")
TEXTS = {
    "word": ("Yes.", "No."),
    "number": ("There were 1,250 people.", "The answer is 42."),
    "date": ("It was March 3rd, 1847.", "They met on the 21st of June, 1998."),
    "60 words": (
        "When the rain had stopped the old man opened the door of his small house, looked up at"
        " the grey sky above the hills, and walked slowly down the narrow road to the river, where"
        " his brother was waiting with a boat, two baskets of bread, and a long letter from the"
        " city that neither of them had yet found the time to read.",
        "The teacher told the children that every tree in the garden had been planted by a"
        " different family, that some of the trees were older than the school itself, and that in"
        " the spring, when all the flowers were open, people came from the other side of the"
        " country to sit in the shade, drink tea, and talk about the days gone by.",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", default="mini-tts")
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    model = api.load(args.checkpoint)
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest_lib.load(args.manifest, cache=cache)
    _, prompts = speech_lib.pairs(model.speaker, corpus, None)
    voices = {corpus.label(row, "speaker"): prompt for row, prompt in enumerate(prompts)}
    judge, notes = judges.load()
    if missing := [note for note in notes if note.startswith("word_error")]:
        raise SystemExit(missing[0])
    result = {}
    for kind, texts in TEXTS.items():
        clips = [
            {"text": text, "voice": voice, "seed": seed, **heard(model, judge, text, prompt, seed)}
            for text in texts
            for voice, prompt in voices.items()
            for seed in range(args.seeds)
        ]
        result[kind] = {"clips": len(clips)} | {
            name: sum(clip[name] for clip in clips) for name in COUNTS
        }
        result[kind]["with errors"] = [c for c in clips if any(c[n] for n in COUNTS[1:])]
        print(kind, {name: result[kind][name] for name in ("clips", *COUNTS)}, flush=True)
    document = {"checkpoint": args.checkpoint, "seeds": args.seeds, "kinds": result}
    pathlib.Path(args.out).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def heard(
    model: api.Model, judge: judges.Judges, text: str, prompt: speech_lib.Source, seed: int
) -> dict[str, Any]:
    """Speak a text and count what Whisper hears: `COUNTS`, and its "transcript"."""
    rate = model.speaker.features.sample_rate
    wave = model.speak(text, prompt.clip.audio, rate, seed=seed)
    said = spoken.normalise(ENGLISH(text).text)
    transcript = judge.understood(said, wave, sample_rate=rate)["transcript"]
    output = jiwer.process_words([said], [transcript])
    inserted = [
        place
        for chunk in output.alignments[0]
        if chunk.type == "insert"
        for place in range(chunk.hyp_start_idx, chunk.hyp_end_idx)
    ]
    words = transcript.split()
    repeated = sum(
        words[place] in words[max(place - 1, 0) : place] + words[place + 1 : place + 2]
        for place in inserted
    )
    return {
        "words": len(said.split()),
        "skipped": output.deletions,
        "repeated": repeated,
        "inserted": len(inserted) - repeated,
        "misunderstood": output.substitutions,
        "transcript": transcript,
    }


if __name__ == "__main__":
    main()
