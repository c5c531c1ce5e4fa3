"""Decodes the clips of a manifest and lists problems that training would have with them."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from uniwav_jax.audio import decode
from uniwav_jax.config import DataConfig, FeaturesConfig
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.errors import UserError
from uniwav_jax.terminal import progress

DATA, RATE = DataConfig(), FeaturesConfig().sample_rate
SILENCE = 10 ** (-60 / 20)  # amplitude relative to full scale: -60 dBFS
CLIPPED = 0.999  # amplitude relative to full scale
MAX_CLIPPED = 0.001  # share of samples
MAX_OFFSET = 0.01  # amplitude relative to full scale: -40 dBFS
FRAMES_PER_BLOCK = 1500  # frames of 20 ms decoded at once: 30 s, so that long files fit in memory
CHUNK = 16  # clips per job
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz' ")

# {problem: (its effect on training, advice)} in the order of the table
PROBLEMS = {
    "broken": ("cannot be read and count as bad clips", "copy them again, or build a new manifest"),
    "not_finite": (
        "have NaN or infinite samples and count as bad clips",
        "write them again from their source",
    ),
    "rate_mismatch": (
        "have another sample rate than in the manifest and count as bad clips",
        "run uniwav data manifest again",
    ),
    "length_mismatch": (
        "are longer or shorter than in the manifest: their ends are not read, or rows stay empty",
        "run uniwav data manifest again; a shorter file is damaged and must be copied again",
    ),
    "too_short": (
        f"are shorter than {DATA.min_seconds:g} s and left out",
        "join them, or lower config.data.min_seconds",
    ),
    "too_long": (
        f"are longer than {DATA.buckets[-1]:g} s and cut into pieces, possibly within words",
        "for pretraining nothing; if texts matter, cut them at pauses with uniwav data cut",
    ),
    "resampled": (
        f"are not at {RATE} Hz and are resampled each time they are read",
        "if reading is slow, convert them once with uniwav data convert",
    ),
    "low_rate": (
        f"have a sample rate below {RATE} Hz, so that the upper band is empty and the model learns"
        " to generate such speech",
        "leave them out unless telephone speech is the aim",
    ),
    "channels": ("have several channels, which are averaged", "split them if each is a speaker"),
    "silent": (
        "are mostly silent (below -60 dBFS as a whole or in more than half of their frames)",
        "trim them or leave them out, because silence uses codewords that speech needs",
    ),
    "clipping": ("are clipped", "record or export them at a lower level"),
    "offset": ("have a DC offset", "high-pass them"),
    "same_path": ("are in the manifest more than once", "remove the repeated rows"),
    "same_audio": (
        "have exactly the samples of an earlier clip",
        "remove them, because a model memorises repeated clips",
    ),
    "text": (
        "have characters other than a-z, apostrophe and space in their text",
        "spell out numbers and signs before training on text",
    ),
}
UNUSABLE = ("broken", "not_finite", "rate_mismatch")  # training counts them as bad clips


@dataclasses.dataclass
class Clip:
    """The results of decoding one clip.

    Attributes:
        path: the manifest's path.
        seconds: length as decoded; 0 if the clip is broken.
        rate: sample rate as decoded, in Hz; 0 if the clip is broken.
        channels: number of channels as decoded; 0 if the clip is broken.
        level: root mean square of the averaged channels in dBFS.
        digest: hash of the decoded samples; b"" if there are none.
        problems: keys of `PROBLEMS`.
        detail: the decoder's message, or the two numbers that differ.
    """

    path: str
    seconds: float = 0.0
    rate: int = 0
    channels: int = 0
    level: float = -np.inf
    digest: bytes = b""
    problems: list[str] = dataclasses.field(default_factory=list)
    detail: str = ""


def check(path: str, *, limit: int = 0, report: str | None = None, workers: int = 1) -> bool:
    """Decode the clips of a manifest and print their problems.

    Args:
        path: manifest.
        limit: maximum of clips to decode, which are spread evenly over the manifest; 0: all.
        report: table to write, with one row for each decoded clip.
        workers: threads.

    Returns:
        True if a run can start.

    Raises:
        UserError: there is no such manifest, or a number is not usable.
    """
    if limit < 0 or workers < 1:
        raise UserError("--limit must not be negative, and --workers must be positive")
    if pathlib.Path(path).is_dir():
        raise UserError(f"{path} is a folder; give the manifest from which it was packed")
    with tempfile.TemporaryDirectory() as cache:
        manifest = manifest_lib.load(path, cache=cache)
        texts = read_texts(path) or [""] * len(manifest)
        count = min(limit or len(manifest), len(manifest))
        rows = np.linspace(0, len(manifest) - 1, count).round().astype(int).tolist()
        clips = decode_all(manifest, rows, workers=workers)
    mark_repeated(clips)
    for clip, row in zip(clips, rows, strict=True):
        if set(texts[row]) - ALPHABET:
            clip.problems.append("text")
    if report:
        write_report(report, clips)
    print_table(clips, total=len(manifest))
    if any(texts):
        print_texts([texts[row] for row in rows])
    return print_verdict(clips)


def read_texts(path: str) -> list[str]:
    """The manifest's column of texts; [] if it has none."""
    if path.endswith((".jsonl", ".json")):
        table = pa.json.read_json(path)
    else:
        table = pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa.csv.ConvertOptions(column_types={"text": pa.string()}),
        )
    if "text" not in table.column_names:
        return []
    return [text or "" for text in table.column("text").to_pylist()]


def decode_all(manifest: manifest_lib.Manifest, rows: list[int], workers: int) -> list[Clip]:
    """Decode `rows` of the manifest in threads; the decoders release Python's global lock."""
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    clips: list[Clip] = []
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        done = pool.map(lambda chunk: [check_clip(manifest, row) for row in chunk], chunks)
        for chunk in progress(done, len(chunks), "Decoding"):
            clips += chunk
    return clips


def check_clip(manifest: manifest_lib.Manifest, row: int) -> Clip:
    """Decode one clip block by block and list its problems."""
    clip = Clip(manifest.name(row))
    samples = clipped = frames = silent_frames = 0
    total = energy = 0.0
    finite = True
    digest = hashlib.blake2b(digest_size=16)
    try:
        with decode.opened(manifest.path(row)) as file:
            clip.rate, clip.channels = file.sample_rate, file.channels
            frame = max(1, clip.rate // 50)
            while True:
                block = file.read(FRAMES_PER_BLOCK * frame)
                if not len(block):
                    break
                if file.stored:
                    block = block.astype(np.float32) / 32768
                digest.update(block)
                if not np.isfinite(block).all():
                    finite, block = False, np.nan_to_num(block, posinf=0.0, neginf=0.0)
                mono = block.mean(1, dtype=np.float64)
                samples += len(block)
                clipped += np.count_nonzero(np.abs(block).max(1) >= CLIPPED)
                total += mono.sum()
                energy += np.square(mono).sum()
                whole = mono[: len(mono) // frame * frame].reshape(-1, frame)
                frames += len(whole)
                silent_frames += np.count_nonzero(np.square(whole).mean(1) < SILENCE**2)
    except decode.BadAudioError as error:
        clip.problems.append("broken")
        clip.detail = str(error)
        return clip
    if not samples:
        clip.problems.append("broken")
        clip.detail = "has no audio"
        return clip
    clip.digest = digest.digest()
    clip.seconds = samples / clip.rate
    clip.level = 10 * np.log10(max(energy / samples, 1e-20))
    found = {
        "not_finite": not finite,
        "rate_mismatch": clip.rate != manifest.sample_rate[row],
        "length_mismatch": samples != manifest.samples[row],
        "too_short": clip.seconds < DATA.min_seconds,
        "too_long": clip.seconds > DATA.buckets[-1],
        "resampled": clip.rate != RATE,
        "low_rate": clip.rate < RATE,
        "channels": clip.channels > 1,
        "silent": energy / samples < SILENCE**2 or silent_frames > 0.5 * max(frames, 1),
        "clipping": clipped > MAX_CLIPPED * samples,
        "offset": abs(total / samples) > MAX_OFFSET,
    }
    clip.problems += [problem for problem, there in found.items() if there]
    if found["rate_mismatch"]:
        clip.detail = f"{clip.rate} Hz, manifest: {manifest.sample_rate[row]}"
    elif found["length_mismatch"]:
        clip.detail = f"{samples} samples, manifest: {manifest.samples[row]}"
    return clip


def mark_repeated(clips: list[Clip]) -> None:
    """Mark clips whose path, or else whose decoded audio, is that of an earlier clip."""
    paths, digests = set(), {b""}
    for clip in clips:
        if clip.path in paths:
            clip.problems.append("same_path")
        elif clip.digest and clip.digest in digests:
            clip.problems.append("same_audio")
        paths.add(clip.path)
        digests.add(clip.digest)


def write_report(path: str, clips: list[Clip]) -> None:
    """Write one row per clip: path, seconds, rate, channels, level in dBFS, problems, detail."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write("path\tseconds\tsample_rate\tchannels\tdbfs\tproblems\tdetail\n")
            file.writelines(
                f"{c.path}\t{c.seconds:.3f}\t{c.rate}\t{c.channels}\t{c.level:.1f}"
                f"\t{','.join(c.problems)}\t{c.detail}\n"
                for c in clips
            )
    except OSError as error:
        raise UserError(f"--report {path}: cannot be written ({error.strerror})") from error


def print_table(clips: list[Clip], total: int) -> None:
    """Print the number of clips with each problem, with an example."""
    hours = sum(clip.seconds for clip in clips) / 3600
    good = sum(not clip.problems for clip in clips)
    print(f"{len(clips)} of {total} clips decoded: {hours:.2f} h; {good} have no problem")
    rates = collections.Counter(clip.rate for clip in clips if clip.rate)
    print("rates: " + ", ".join(f"{rate} Hz: {n}" for rate, n in sorted(rates.items())))
    table = Table("problem", "clips", "share", Column("for example", overflow="fold"))
    for problem in PROBLEMS:
        having = [clip for clip in clips if problem in clip.problems]
        if having:
            example = having[0].path + (f" ({having[0].detail})" if having[0].detail else "")
            share = f"{len(having) / len(clips):.1%}"
            table.add_row(problem, str(len(having)), share, escape(example))
    if table.row_count:
        Console().print(table)


def print_texts(texts: list[str]) -> None:
    """Print how many clips have text, and which characters are not in the alphabet."""
    empty = sum(not text for text in texts)
    print(
        f"texts: {len(texts) - empty} clips have a text, {empty} ({empty / len(texts):.1%}) have"
        " none"
    )
    strange = collections.Counter("".join(texts))
    for character in ALPHABET:
        del strange[character]
    if strange:
        listed = "  ".join(f"{char!r} {count}" for char, count in strange.most_common(20))
        print(f"texts: characters other than a-z, apostrophe and space: {listed}")


def print_verdict(clips: list[Clip]) -> bool:
    """Print the effect of each problem, then the fatal ones; return True if there is none."""
    count = collections.Counter(problem for clip in clips for problem in clip.problems)
    for problem, (effect, remedy) in PROBLEMS.items():
        if count[problem]:
            print(f"- {problem} ({count[problem]} of {len(clips)}): {effect}. To do: {remedy}.")
    unusable = sum(not set(UNUSABLE).isdisjoint(clip.problems) for clip in clips)
    usable = [c for c in clips if set(c.problems).isdisjoint((*UNUSABLE, "too_short"))]
    fatal = []
    if unusable > DATA.max_bad_fraction * len(clips):
        fatal.append(
            f"{unusable / len(clips):.1%} of the clips are bad; training stops above"
            f" {DATA.max_bad_fraction:.0%} (config.data.max_bad_fraction)"
        )
    if not usable:
        fatal.append(f"no usable clip lasts {DATA.min_seconds:g} s (config.data.min_seconds)")
    elif sum("silent" in clip.problems for clip in usable) > 0.5 * len(usable):
        fatal.append("most clips are silent; the codebooks would collapse")
    if count["length_mismatch"] > DATA.max_bad_fraction * len(clips):
        fatal.append("the manifest's lengths are wrong; run uniwav data manifest again")
    for sentence in fatal:
        print(f"FATAL: {sentence}.")
    if not fatal:
        hours = sum(clip.seconds for clip in usable) / 3600
        print(f"A run can start: {len(usable)} clips, {hours:.2f} h.")
    return not fatal
