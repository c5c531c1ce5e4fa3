"""Converts audio files of any kind to FLAC, 16 kHz, mono, which is the fastest kind to train on."""

import concurrent.futures
import gzip
import os
import pathlib
import re
import shutil
import sys
import zlib

from uniwav_jax.audio import SUFFIXES, folders
from uniwav_jax.audio.reader import read_blocks
from uniwav_jax.audio.writer import write_audio
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress

RATE = 16000  # Hz
SIGNS = r"[^A-Za-z\s.,:;!?'\"-]"  # characters that are spoken as words or mark a stage direction
SHOWN = 10  # maximum of failures that are printed


def convert_folder(
    source: str, target: str, *, suffixes: str = "", texts: str | None = None, workers: int = 1
) -> None:
    """Convert every audio file in a folder and its subfolders to NAME.flac in another folder.

    Files that are up to date are skipped, so that the same call continues after an interruption.
    Files that cannot be converted are printed and listed in failed.tsv.

    Args:
        source: folder with the files.
        target: folder for the FLAC files, outside of `source`.
        suffixes: suffixes of the files to convert, separated by commas; "": `SUFFIXES`.
        texts: list of prompts in the format of telephone sound packages, one `NAME: text` per line
            (plain or .gz), where NAME is the path in `source` without suffix. Each text is written
            to NAME.txt next to the FLAC file.
        workers: threads.

    Raises:
        UserError: nothing could be converted, or a path is not usable.
    """
    if workers < 1:
        raise UserError(f"--workers must be at least 1; got {workers}")
    folder, out = (pathlib.Path(os.path.abspath(p)) for p in (source, target))
    if not folder.is_dir():
        raise UserError(f"{source}: no such folder")
    if out.is_relative_to(folder):
        raise UserError(f"--out {target} is inside {source}; choose another folder")
    prompts = read_prompts(texts) if texts else {}

    jobs = plan(folder, out, suffixes=suffixes or ",".join(SUFFIXES))
    stale = {target: source for target, source in jobs.items() if not _up_to_date(source, target)}
    failures = convert_all(stale, workers=workers)
    print(
        f"{out}: {len(stale) - len(failures)} converted, {len(jobs) - len(stale)} up to date,"
        f" {len(failures)} failed"
    )
    report_failures(failures, out / "failed.tsv")
    if len(failures) == len(jobs):
        raise UserError(f"{source}: none of its {len(jobs)} files could be converted")
    if prompts:
        written = write_texts(prompts, out, done=[t for t in jobs if t.exists()])
        if not written:
            raise UserError(
                f"{texts}: none of its {len(prompts)} names is a file in {source}; give the folder"
                " to which the names are relative"
            )
        print(f"{out}: {written} texts")


def plan(
    folder: pathlib.Path, out: pathlib.Path, suffixes: str
) -> dict[pathlib.Path, pathlib.Path]:
    """{FLAC file to write: its source}, sorted by source.

    Raises:
        UserError: there is nothing to convert, or two sources have the same FLAC file.
    """
    wanted = tuple("." + suffix.strip().lower().lstrip(".") for suffix in suffixes.split(","))
    jobs: dict[pathlib.Path, pathlib.Path] = {}
    for name in folders.find(folder, wanted):
        source, target = folder / name, out / name.with_suffix(".flac")
        if target in jobs:
            raise UserError(
                f"{jobs[target]} and {source} would both become {target.name}; choose one kind with"
                f" --suffixes {source.suffix}"
            )
        jobs[target] = source
    if not jobs:
        raise UserError(f"{folder}: no file in it ends in {', '.join(sorted(wanted))}")
    return jobs


def convert_all(
    jobs: dict[pathlib.Path, pathlib.Path], workers: int
) -> list[tuple[pathlib.Path, str]]:
    """Convert {target: source} in threads; returns (source, reason) for those that failed."""

    def attempt(job: tuple[pathlib.Path, pathlib.Path]) -> tuple[pathlib.Path, str] | None:
        target, source = job
        try:
            convert(source, target)
        except (UserError, OSError, RuntimeError) as error:
            return source, " ".join(str(error).removeprefix(str(source)).split())
        return None

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        done = progress(pool.map(attempt, jobs.items()), len(jobs), "Converting")
        return [failure for failure in done if failure]


def convert(source: pathlib.Path, target: pathlib.Path) -> None:
    """Decode the first audio stream of `source` to FLAC, PCM_16, 16 kHz, channels averaged.

    After an error there is no incomplete target.

    Raises:
        UserError: the source cannot be decoded or has no audio.
        OSError, RuntimeError: the target cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        blocks = read_blocks(str(source), sample_rate=RATE)
        write_audio(part, blocks, sample_rate=RATE, container="FLAC")
        text = source.with_suffix(".txt")
        if text.is_file():
            shutil.copyfile(text, target.with_suffix(".txt"))
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def report_failures(failures: list[tuple[pathlib.Path, str]], table: pathlib.Path) -> None:
    """Print the first failures to stderr and write all to `table`, replacing an earlier table."""
    table.unlink(missing_ok=True)
    for source, reason in failures[:SHOWN]:
        print(f"failed: {source}: {reason}", file=sys.stderr)
    if failures:
        print(f"failed: all are listed in {table}", file=sys.stderr)
        rows = (f"{source}\t{reason}\n" for source, reason in failures)
        table.write_text("path\treason\n" + "".join(rows), errors="backslashreplace")


def read_prompts(file: str) -> dict[str, str]:
    """{name: text} of a list of prompts; texts consist of a-z, apostrophe and space.

    A prompt is left out if it has more than its spoken words: stage directions in brackets, digits,
    or signs such as * or #. A missing text is better than a wrong one.
    """
    try:
        data = pathlib.Path(file).read_bytes()
        lines = (gzip.decompress(data) if file.endswith(".gz") else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"--texts {file}: cannot be read ({error})") from error
    prompts = {}
    for line in lines.splitlines():
        name, separator, text = line.partition(": ")
        if separator and not line.startswith(";") and not re.search(SIGNS, text):
            words = re.sub(r"[^a-z' ]", " ", text.lower()).split()
            prompts[name.strip()] = " ".join(words)
    if not prompts:
        raise UserError(f"--texts {file}: no line `NAME: text` in it")
    return prompts


def write_texts(texts: dict[str, str], out: pathlib.Path, done: list[pathlib.Path]) -> int:
    """Write NAME.txt next to each finished NAME.flac that has a text; returns their number."""
    written = 0
    for target in done:
        text = texts.get(target.relative_to(out).with_suffix("").as_posix())
        if text:
            target.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
            written += 1
    return written


def _up_to_date(source: pathlib.Path, target: pathlib.Path) -> bool:
    return target.exists() and target.stat().st_mtime >= source.stat().st_mtime
