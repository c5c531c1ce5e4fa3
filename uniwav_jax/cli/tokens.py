"""`uniwav tokenize`, `uniwav detokenize`, `uniwav resynthesize` and `uniwav info`."""

import argparse
import dataclasses
import itertools
import os
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from uniwav_jax.audio import SUFFIXES
from uniwav_jax.cli import Run, files
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress

if TYPE_CHECKING:
    from uniwav_jax.api import Model
    from uniwav_jax.tokens.tally import Tally
    from uniwav_jax.tokens.value import Tokens

LONGEST = 70  # characters of a text that are shown
CHECKPOINT = "run with task tokenizer, or its export; default: mini-tokenizer"
PROMPT = "audio file of the voice to speak in, about 3 s"
TABLE = "tokens.parquet"


def tokenize(parser: argparse.ArgumentParser) -> Run:
    r"""Speech to discrete tokens, for audio files of any length.

        uniwav tokenize speech/ --out tokens/
        uniwav tokenize train.tsv --checkpoint runs/tokens --out tokens/ --format parquet

    The formats are uwt, npz of NumPy, and parquet: one table OUT/tokens.parquet
    with a row for each clip, for the training of language models. A manifest (.tsv) brings the
    texts of its clips along. With --voice the tokens carry 3 s of latents, in whose voice they are
    spoken later; their size is counted apart.

    A file that cannot be read is named and left out; the others are done, and the status is 1.
    """
    parser.add_argument("sources", nargs="+", metavar="FILE|FOLDER|MANIFEST")
    parser.add_argument("--checkpoint", default="mini-tokenizer", help=CHECKPOINT)
    parser.add_argument("--out", required=True, help="folder for NAME.FORMAT")
    parser.add_argument("--format", default="uwt", choices=("uwt", "npz", "parquet"))
    parser.add_argument("--books", type=int, help="the first ones only; default: all")
    parser.add_argument("--voice", action="store_true", help="keep the voice, 3 s of latents")
    return _tokenize


def _tokenize(args: argparse.Namespace) -> int:
    from uniwav_jax import api
    from uniwav_jax.tokens import files as token_files

    model, out, failed = api.load(args.checkpoint), pathlib.Path(args.out), 0
    model.require("tokenize")
    items = list(_audio(args.sources, model.sample_rate))
    files.check_names([name for name, *_ in items])
    clips = _tokens(model, items, args)

    def good() -> Iterator["Tokens"]:
        nonlocal failed
        for clip in clips:
            if isinstance(clip, UserError):
                failed += files.report(clip)
            else:
                yield clip

    if args.format == "parquet":
        count = token_files.write_rows(out / TABLE, good())
        print(f"{out / TABLE}: {count} clips")
        return int(failed > 0)
    for clip in good():
        target = (out / clip.id).with_suffix(f".{args.format}")
        token_files.write(target, clip)
        print(f"{target}: {clip.duration:.2f} s, {len(clip.codes)} x {clip.books} codes")
    return int(failed > 0)


def _audio(sources: list[str], sample_rate: int) -> Iterator[tuple[str, str, Iterable[Any]]]:
    """Name, text and blocks of audio of each file, and of each clip of the manifests."""
    import tempfile

    import numpy as np

    from uniwav_jax.audio.reader import BadAudioError
    from uniwav_jax.data import manifest
    from uniwav_jax.data.sources import ClipReader
    from uniwav_jax.inference import waves

    def of_clip(reader: ClipReader, row: int, samples: int) -> Iterator[np.ndarray]:
        try:
            yield reader.read(row, start=0, samples=samples).astype(np.float32) / 32768.0
        except BadAudioError as error:
            raise UserError(f"{reader.name(row)} {error}") from error

    for source in (source for source in sources if source.endswith(".tsv")):
        with tempfile.TemporaryDirectory() as cache:
            corpus = manifest.load(source, cache=cache)
        reader = ClipReader(corpus, sample_rate=sample_rate)
        for row, samples in enumerate(corpus.lengths(sample_rate).tolist()):
            name = pathlib.Path(corpus.name(row)).stem
            yield name, corpus.label(row, "text"), of_clip(reader, row, samples)
    rest = [source for source in sources if not source.endswith(".tsv")]
    for path, name in files.find(rest, SUFFIXES) if rest else ():
        yield name, "", waves.blocks(path, None, sample_rate=sample_rate)


def _tokens(
    model: "Model", items: list[tuple[str, str, Iterable[Any]]], args: argparse.Namespace
) -> Iterator["Tokens | UserError"]:
    """Tokens of each item, with its voice if that is wanted, or the error of reading it."""
    import numpy as np

    heard: dict[int, list[np.ndarray]] = {}

    def kept(number: int, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks, of which the beginning is kept for the voice."""
        for block in blocks:
            if args.voice and sum(map(len, heard.setdefault(number, []))) < 60 * model.sample_rate:
                heard[number].append(block)
            yield block

    numbered = ((number, kept(number, item[2])) for number, item in enumerate(items))
    for number, found in progress(model.tokenizer.tokens(numbered), len(items)):
        try:
            if isinstance(found, UserError):
                raise found
            name, text, _ = items[number]
            found = dataclasses.replace(
                found, id=str(pathlib.Path(name).with_suffix("")), text=text
            )
            found = found if args.books is None else found.first(args.books)
            if args.voice:
                prompt = model.detokenizer.prompt(np.concatenate(heard.pop(number)))
                found = dataclasses.replace(found, prompt=prompt)
            yield found
        except UserError as error:
            yield (
                error if isinstance(found, UserError) else UserError(f"{items[number][0]}: {error}")
            )


def detokenize(parser: argparse.ArgumentParser) -> Run:
    r"""Discrete tokens to speech: 16-bit NAME.wav with exactly the samples of the original.

        uniwav detokenize tokens/ --checkpoint runs/tokens --out speech/ --prompt voice.wav

    The voice is that of --prompt, or the one that the tokens carry, or one from noise. Damaged
    parts of a file become silence and are named; a file that cannot be read is named and left out;
    the others are done, and the status is 1 then.
    """
    parser.add_argument("sources", nargs="+", metavar="FILE|FOLDER")
    _add_speaking(parser)
    return _detokenize


def _add_speaking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default="mini-tokenizer", help=CHECKPOINT)
    parser.add_argument("--out", required=True, help="folder for NAME.wav")
    parser.add_argument("--prompt", help=PROMPT)
    parser.add_argument("--books", type=int, help="the first ones only; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    for name, kind in (("guidance", float), ("temperature", float), ("steps", int)):
        parser.add_argument(f"--{name}", type=kind, help="of the sampler; default: of the run")


def _detokenize(args: argparse.Namespace) -> int:
    from uniwav_jax import api
    from uniwav_jax.tokens import files as token_files

    model = api.load(args.checkpoint)
    digest, failed = model.tokenizer.digest, 0
    sources = files.find(args.sources, token_files.SUFFIXES)

    def clips() -> Iterator["Tokens"]:
        nonlocal failed
        for path, name in sources:
            try:
                for tokens in token_files.read_all(path, books=args.books, model=digest):
                    failed += sum(files.report(f"{path}: {line}") for line in tokens.damage)
                    several = path.endswith(".parquet")
                    place = tokens.id if several else str(pathlib.Path(name).with_suffix(""))
                    yield dataclasses.replace(tokens, id=place)
            except UserError as error:
                failed += files.report(error)

    names: set[str] = set()
    for name in _spoken(model, clips(), args):
        files.check_names([*names, name])
        names.add(name)
    return int(failed > 0)


def _spoken(model: "Model", clips: Iterable["Tokens"], args: argparse.Namespace) -> Iterator[str]:
    """Write the speech of clips, some at a time; yields their names."""
    import numpy as np

    from uniwav_jax.audio.writer import write_audio
    from uniwav_jax.inference import waves
    from uniwav_jax.inference.tokenizer import AT_ONCE
    from uniwav_jax.inference.waveforms import Sampling

    out, rate, detokenizer = pathlib.Path(args.out), model.sample_rate, model.detokenizer
    names = ("seed", "guidance", "temperature", "steps")
    sampling = Sampling(**{name: getattr(args, name) for name in names})
    prompt = None
    if args.prompt:
        blocks = waves.blocks(args.prompt, None, sample_rate=rate)
        prompt = detokenizer.prompt(np.concatenate(list(blocks)))
    clips = iter(clips)
    while group := list(itertools.islice(clips, AT_ONCE)):
        sources = [detokenizer.source(tokens, prompt) for tokens in group]
        for tokens, wave in zip(group, detokenizer.speak(sources, sampling), strict=True):
            target = out / f"{tokens.id}.wav"
            yield str(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_suffix(".part.wav")
            write_audio(draft, [wave], sample_rate=rate)
            draft.replace(target)
            print(f"{target}: {tokens.duration:.2f} s")


def resynthesize(parser: argparse.ArgumentParser) -> Run:
    r"""Speech through tokens and back, to listen to what the tokens keep.

        uniwav resynthesize speech/ --checkpoint runs/tokens --out heard/ --books 1

    Each clip is spoken in the voice of its own first 3 s of speech, or in that of --prompt, or
    with --no_voice in one from noise. A file that cannot be read is named and left out; the others
    are done, and the status is 1.
    """
    parser.add_argument("sources", nargs="+", metavar="FILE|FOLDER|MANIFEST")
    _add_speaking(parser)
    parser.add_argument("--no_voice", action="store_true", help="without a prompt")
    return _resynthesize


def _resynthesize(args: argparse.Namespace) -> int:
    from uniwav_jax import api

    model, failed = api.load(args.checkpoint), 0
    model.require("tokenize")
    items = list(_audio(args.sources, model.sample_rate))
    files.check_names([name for name, *_ in items])
    args.voice = not (args.no_voice or args.prompt)

    def clips() -> Iterator["Tokens"]:
        nonlocal failed
        for clip in _tokens(model, items, args):
            if isinstance(clip, UserError):
                failed += files.report(clip)
            else:
                yield clip

    for _ in _spoken(model, clips(), args):
        pass
    return int(failed > 0)


def info(parser: argparse.ArgumentParser) -> Run:
    """What files of speech tokens contain: .uwt, .npz and .parquet.

    Rates are in bit/s: "payload" is what the books could express, "entropy" what codes of these
    frequencies need, "runs" the same for codes and lengths of runs of equal codes, and "file" what
    the file takes, with its texts and prompts. Entropies of a short clip are too low, because it
    cannot use a whole book; the last lines are of all files together.

    The damaged parts of a file are listed, a file that cannot be read is named, and the status is 1
    then; the others are shown.
    """
    parser.add_argument("sources", nargs="+", metavar="FILE|FOLDER")
    return _info


def _info(args: argparse.Namespace) -> int:
    from uniwav_jax.tokens import files as token_files
    from uniwav_jax.tokens.tally import Tally

    sources, failed, pooled = files.find(args.sources, token_files.SUFFIXES), 0, {}
    for path, _ in sources:
        tallies, damage, tokens = defaultdict(Tally), [], None
        try:
            for tokens in token_files.read_all(path):
                kind = (tokens.model, tokens.book_sizes, tokens.frame_rate)
                tallies[kind].add(tokens)
                pooled.setdefault(kind, Tally()).add(tokens)
                damage += [f"{path}: {line}" for line in tokens.damage]
        except UserError as error:
            damage.append(str(error))
        size = os.path.getsize(path)
        for kind, tally in tallies.items():
            pooled[kind].file_bytes += size
            tally.file_bytes = size
            print(f"{path}: {_summary(tally, *kind)}")
            if tally.clips == len(tallies) == 1:
                print("".join(f"  {line}\n" for line in _of_clip(tokens)), end="")
        failed += sum(map(files.report, damage))
    for kind, tally in pooled.items():
        if len(sources) > 1 and tally.clips > 1:
            print(f"together: {_summary(tally, *kind)}")
    return int(failed > 0)


def _summary(tally: "Tally", model: str, sizes: tuple[int, ...], frame_rate: float) -> str:
    """One line on the clips, and lines on their rates and books."""
    from uniwav_jax.measures import information

    file_rate = f"{8 * tally.file_bytes / tally.seconds:.0f}" if tally.seconds else "-"
    side = f", of them {tally.prompt_bytes} of prompts" if tally.prompt_bytes else ""
    lines = [
        f"{tally.clips} clip{'s' * (tally.clips > 1)}, {tally.seconds:.2f} s, {tally.frames} frames"
        f" of {' + '.join(map(str, sizes))} codewords, {frame_rate:g} per second, model {model}",
        f"payload {tally.payload:.0f}, entropy {tally.entropy:.0f}, runs {tally.run_entropy:.0f},"
        f" file {file_rate} bit/s ({tally.file_bytes} bytes{side})",
    ]
    for book, counts in enumerate(tally.counts, 1):
        lines.append(
            f"book {book}: {100 * information.use(counts):.1f} % of the codewords used, perplexity"
            f" {information.perplexity(counts):.1f}"
        )
    return "\n  ".join(lines)


def _of_clip(tokens: "Tokens") -> Iterator[str]:
    """Lines on the texts and the prompt of a file's only clip."""
    for name in ("id", "text"):
        value = " ".join(getattr(tokens, name).split())
        if value:
            yield f"{name}: {value if len(value) <= LONGEST else value[:LONGEST] + ' ...'}"
    if tokens.prompt is not None:
        frames, channels = tokens.prompt.shape
        yield f"prompt: {frames} frames of {channels} channels, {tokens.prompt_name}"
    elif tokens.prompt_name:
        yield f"prompt: {tokens.prompt_name}, which the file names but does not contain"
