"""Builds an n-gram model of words from text, for beam search: `uniwav transcribe --lm FILE`.

It calls kenlm's programs `lmplz` and `build_binary`; if they are missing, the error message
explains how to build them. A binary model has no list of its words, but the search needs one for
the beginnings of words. The list is therefore written next to the model, to FILE.bin.words.
"""

import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from uniwav_jax.config import TextConfig
from uniwav_jax.data import manifest
from uniwav_jax.errors import UserError
from uniwav_jax.text import alphabet
from uniwav_jax.text.files import read_text

WORDS = ".words"  # suffix that the list of words adds to the name of a binary model
BUILD = (
    "pip download --no-deps --no-binary kenlm kenlm==0.3.0 && tar xzf kenlm-0.3.0.tar.gz && cd"
    " kenlm-0.3.0 && cmake -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build --target"
    " lmplz build_binary (needs cmake, a C++ compiler and Boost: libboost-all-dev); then --kenlm"
    " kenlm-0.3.0/build/bin"
)


def build(
    sources: Sequence[str],
    target: str,
    *,
    order: int = 4,
    memory: str = "1G",
    lowercase: bool = True,
    kenlm: str | None = None,
) -> None:
    """Write an n-gram model of the text in `sources`, normalised like the recogniser's texts.

    Args:
        sources: manifests, whose column `text` is read, and .txt files with a sentence per line.
        target: FILE.bin for kenlm's binary format, or FILE.arpa.
        order: n, the number of words in the longest n-gram.
        memory: limit for `lmplz` in its notation, such as "1G".
        lowercase: the recogniser's `config.text.lowercase`.
        kenlm: folder of kenlm's programs; with None they are searched in PATH.

    Raises:
        UserError: there is no text, a program is missing, or it fails.
    """
    if order < 2:
        raise UserError(f"--order must be at least 2; got {order}")
    lmplz, binary = (_program(name, kenlm) for name in ("lmplz", "build_binary"))
    out = pathlib.Path(target)
    if out.suffix not in (".bin", ".arpa"):
        raise UserError(f"--out {out} must end in .bin or .arpa")
    config = TextConfig(lowercase=lowercase)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        sentences, arpa = pathlib.Path(folder) / "text", pathlib.Path(folder) / "lm.arpa"
        count, words = 0, set()
        with sentences.open("w", encoding="utf-8") as file:
            for source in sources:
                for line in _lines(source):
                    if line := alphabet.normalize(line, config):
                        file.write(line + "\n")
                        words.update(line.split())
                        count += 1
        if not count:
            raise UserError(f"no text in {', '.join(sources)}")
        # Kneser-Ney's discounts are estimated from n-grams that a small corpus may not have.
        options = ["-o", order, "-S", memory, "--discount_fallback"]
        _run([lmplz, *options, "--text", sentences, "--arpa", arpa])
        result = arpa
        if out.suffix == ".bin":
            result = arpa.with_suffix(".bin")
            _run([binary, arpa, result])
            listed = pathlib.Path(f"{folder}/words")
            listed.write_text("".join(f"{word}\n" for word in sorted(words)), encoding="utf-8")
            listed.replace(f"{out}{WORDS}")
        result.replace(out)
    print(f"{out}: {order}-gram of {count} sentences")


def _lines(source: str) -> Iterator[str]:
    path = pathlib.Path(source)
    if path.suffix == ".txt":
        if not path.is_file():
            raise UserError(f"{source} does not exist")
        yield from read_text(path).splitlines()
        return
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest.load(source, cache=cache)
        yield from (corpus.label(row, "text") for row in range(len(corpus)))


def _program(name: str, folder: str | None) -> str:
    found = shutil.which(name, path=folder)
    if not found:
        raise UserError(f"{name} was not found {'in ' + folder if folder else 'in PATH'}; {BUILD}")
    return found


def _run(command: list[object]) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise UserError(f"{command[0]} failed ({last})")
