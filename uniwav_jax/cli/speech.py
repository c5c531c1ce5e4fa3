"""`uniwav speak`."""

import argparse
import contextlib
import os
import pathlib
import sys
import time
import wave
from collections.abc import Iterable, Iterator
from typing import Any

from uniwav_jax.cli import Run, files
from uniwav_jax.errors import UserError, disk_errors

COLUMNS = ("id", "text")
STDOUT = "-"  # as --out: raw samples, int16 in little-endian order, one channel


def speak(parser: argparse.ArgumentParser) -> Run:
    r"""Text to speech, in the voice of a prompt.

        uniwav speak "Good morning." --prompt voice.wav --out hello.wav
        uniwav speak story.txt --checkpoint runs/tts --prompt voice.wav --out story.wav --srt
        uniwav speak list.tsv --checkpoint runs/tts --out folder

    TEXT is a text, a file of text (.txt), or a table (.tsv) with the columns id, text, and perhaps
    prompt and prompt_text, whose rows become OUT/id.wav; rows that cannot be spoken are named, the
    others are done, and the status is 1. The prompt is some seconds of speech; without it the voice
    comes from noise. Long texts are spoken sentence by sentence. With --recognizer the words of the
    prompt are found in its audio. With --stream each sentence is written as soon as it is ready,
    and the delay and the speed are printed. Needs pip install "uniwav_jax[speak]".
    """
    parser.add_argument("text", metavar="TEXT|FILE")
    checkpoint = "run with task tts, or its weights; default: mini-tts"
    parser.add_argument("--checkpoint", default="mini-tts", help=checkpoint)
    parser.add_argument("--prompt", help="audio file of the voice, 3 to 10 s, or a saved voice")
    parser.add_argument("--prompt_text", help="what is said in it; its rhythm is then continued")
    parser.add_argument("--save_voice", metavar="FILE.npz", help="keep the voice of --prompt")
    parser.add_argument("--recognizer", help="workdir of a run with task asr")
    parser.add_argument(
        "--out", required=True, help="WAV file, folder for a table, or - for stdout"
    )
    parser.add_argument("--stream", action="store_true", help="write sentences as they are ready")
    parser.add_argument("--language", default="english", help="or espeak:VOICE, or a lexicon file")
    parser.add_argument("--show_text", action="store_true", help="print what is spoken and why")
    parser.add_argument("--srt", action="store_true", help="also write subtitles, NAME.srt")
    parser.add_argument("--textgrid", action="store_true", help="also write NAME.TextGrid")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--speed", type=float, default=1.0, help="factor of the tempo")
    parser.add_argument("--duration", type=float, help="seconds of the new speech, exactly")
    parser.add_argument("--durations", help="model, even or characters; default: the model's")
    parser.add_argument("--candidates", type=int, default=1, help="per sentence; the best is kept")
    for name, kind in (("guidance", float), ("temperature", float), ("steps", int)):
        parser.add_argument(f"--{name}", type=kind, help="of the sampler; default: of the run")
    return _speak


def _speak(args: argparse.Namespace) -> int:
    from uniwav_jax import api
    from uniwav_jax.inference import say, voices
    from uniwav_jax.inference.candidates import Candidates
    from uniwav_jax.inference.speak import Settings
    from uniwav_jax.text import frontend

    out, raw = pathlib.Path(args.out), args.out == STDOUT
    notes = sys.stderr if raw else sys.stdout
    rows = _rows(args, out)
    settings = Settings(
        seed=args.seed,
        guidance=args.guidance,
        temperature=args.temperature,
        steps=args.steps,
        speed=args.speed,
        seconds=args.duration,
        durations=args.durations,
    )
    speaker = api.load(args.checkpoint).speaker
    front_end = frontend.load(args.language)
    rate = speaker.features.sample_rate
    recognizer = api.load(args.recognizer).recognizer if args.recognizer else None
    loaded: dict[tuple[str | None, str | None], voices.Prompt] = {}
    known = {"language": args.language, "recognizer": recognizer}
    if args.save_voice:
        own = (args.prompt, args.prompt_text)
        loaded[own] = voices.load(speaker, own[0], text=own[1], **known)
        voices.save(args.save_voice, speaker, loaded[own])
    best = Candidates(recognizer, args.candidates) if args.candidates != 1 else None
    failed = 0
    for target, text, *prompt in rows:
        begin = time.monotonic()
        try:
            spoken = front_end(text)
            if args.show_text:
                lines = [spoken.text, *(f"  {note}" for note in spoken.notes)]
                print("\n".join(lines), file=notes)
            voice = loaded.get(tuple(prompt))
            if voice is None:
                voice = voices.load(speaker, prompt[0], text=prompt[1], **known)
                loaded[tuple(prompt)] = voice
            parts = say.stream(speaker, spoken, voice, settings, best)
            if args.stream or raw:
                parts = _streamed(parts, None if raw else target, rate, begin)
            said = say.joined(parts, rate)
        except UserError as error:
            if len(rows) == 1:
                raise
            failed += files.report(f"{target.name}: {error}")
            continue
        _write(target, said, args)
        seconds = len(said.wave) / said.rate
        print(f"{target}: {seconds:.2f} s, {len(said.words)} words", file=notes)
        for number, choice in enumerate(best.choices if best else (), start=1):
            losses = ", ".join(f"{loss:.2f}" for loss in choice.losses)
            what = f"sentence {number}: seed {choice.seed}, of CTC losses {losses}"
            print(f"  {what} per symbol from seed {args.seed} on", file=notes)
        if best:
            best.choices.clear()
    return int(failed > 0)


def _streamed(
    parts: Iterable[tuple[Any, Any]], target: pathlib.Path | None, rate: int, begin: float
) -> Iterator[tuple[Any, Any]]:
    """Parts of `say.stream`, each of which is written as it passes, and the speed at the end.

    Args:
        parts: speech and its words.
        target: WAV file, whose header is right after each part; None: raw samples to stdout.
        rate: of the speech, in Hz.
        begin: `time.monotonic()` at the beginning.
    """
    from uniwav_jax.audio.writer import to_int16
    from uniwav_jax.inference import say

    first, samples, file, write = 0.0, 0, sys.stdout.buffer, sys.stdout.buffer.write
    with contextlib.ExitStack() as opened:
        opened.enter_context(disk_errors(str(target)))
        for speech, spoken in parts:
            if not samples:
                first = time.monotonic() - begin
            if target and not samples:  # from here on there is something to write
                target.parent.mkdir(parents=True, exist_ok=True)
                file = opened.enter_context(target.open("wb"))
                sink = opened.enter_context(wave.open(file, "wb"))
                sink.setparams((1, 2, rate, 0, "NONE", ""))
                write = sink.writeframes
            try:
                write(to_int16(say.faded(speech.wave, rate)).astype("<i2").tobytes())
                file.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise UserError("what reads the speech from stdout has ended") from None
            samples += len(speech.wave)
            yield speech, spoken
    took, seconds = time.monotonic() - begin, samples / rate
    print(
        f"first audio after {first:.2f} s; {seconds:.2f} s of speech in {took:.2f} s,"
        f" real-time factor {took / seconds:.2f}",
        file=sys.stderr,
    )


def _rows(args: argparse.Namespace, out: pathlib.Path) -> list[tuple[Any, ...]]:
    """(file to write, text, prompt or None, its text or None) of what is to be spoken."""
    from uniwav_jax.text.files import read_text

    text = args.text
    source = pathlib.Path(text)
    try:
        exists = source.is_file()
    except OSError:  # a text that is too long for a name
        exists = False
    if not exists and source.suffix in (".txt", ".tsv") and " " not in text:
        raise UserError(f"{text} does not exist")
    if not exists or source.suffix != ".tsv":
        if args.out == STDOUT and (args.srt or args.textgrid):
            raise UserError("--srt and --textgrid are written beside a file; --out is stdout")
        if out.suffix.lower() != ".wav" and args.out != STDOUT:
            raise UserError(f"--out must name a .wav file; got {out}")
        return [(out, read_text(source) if exists else text, args.prompt, args.prompt_text)]
    if args.out == STDOUT:
        raise UserError("a table is spoken into a folder; --out is stdout")
    head, *lines = (line.split("\t") for line in read_text(source).splitlines() if line.strip())
    missing = [name for name in COLUMNS if name not in head]
    if missing:
        needed = " and ".join(COLUMNS)
        raise UserError(f"{text} has no column {', '.join(missing)}; it needs {needed}")
    rows = []
    for number, line in enumerate(lines, start=2):
        if len(line) != len(head):
            raise UserError(
                f"{text}, line {number}: {len(line)} fields, the header has {len(head)}"
            )
        row = dict(zip(head, line))
        voice = (args.prompt, row.get("prompt_text") or args.prompt_text)
        if row.get("prompt"):  # relative to the table
            voice = (str(source.parent / row["prompt"]), row.get("prompt_text") or None)
        rows.append((out / f"{row['id']}.wav", row["text"], *voice))
    files.check_names(str(target.relative_to(out)) for target, *_ in rows)
    return rows


def _write(target: pathlib.Path, said: object, args: argparse.Namespace) -> None:
    """The wave, and on request subtitles and a TextGrid; each appears complete or not at all.

    A wave that was streamed is there already.
    """
    from uniwav_jax.audio.writer import write_audio
    from uniwav_jax.inference import transcripts
    from uniwav_jax.text import textgrid

    if args.out == STDOUT:
        return
    if not args.stream:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".part.wav")
        write_audio(temporary, [said.wave], sample_rate=said.rate)
        temporary.replace(target)
    if args.srt:
        target.with_suffix(".srt").write_text(transcripts.srt(said.words), encoding="utf-8")
    if args.textgrid:
        tiers = {
            "words": [(word.start, word.end, word.text) for word in said.words],
            "phones": [(start, end, symbol.split("_")[0]) for start, end, symbol in said.phones],
        }
        textgrid.write(str(target.with_suffix(".TextGrid")), tiers, said.phones[-1][1])
