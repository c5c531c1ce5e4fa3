#!/usr/bin/env python
"""An n-gram model of words from text, for beam search: `uniwav transcribe --lm FILE`.

    python tools/build_lm.py data/mine/manifest.tsv more_text.txt --out lm.bin [--order 4]

Sources are manifests (their column text) and text files, a sentence a line. The text is written as
the recogniser writes it: single spaces and, but for --keep_case, lower case. `lmplz` and
`build_binary` of kenlm do the work; where they are not installed the error says how to build them.
A binary model holds no list of its words, which the search needs to prefer them: it is written
beside it, FILE.bin.words.
"""

import argparse
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

from uniwav_jax.config import AsrConfig
from uniwav_jax.data import manifest
from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.inference import recognize
from uniwav_jax.text import alphabet

BUILD = (
    "pip download --no-deps --no-binary kenlm kenlm==0.3.0 && tar xzf kenlm-0.3.0.tar.gz && cd"
    " kenlm-0.3.0 && cmake -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build --target"
    " lmplz build_binary (needs cmake, a C++ compiler and Boost: libboost-all-dev); then --kenlm"
    " kenlm-0.3.0/build/bin"
)


def main(argv: list[str]) -> int:
    """Build one model; see the module docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", metavar="MANIFEST|TEXT")
    parser.add_argument("--out", required=True, help="FILE.bin (kenlm's binary) or FILE.arpa")
    parser.add_argument("--order", type=int, default=4, help="n; default: 4")
    parser.add_argument("--memory", default="1G", help="of lmplz; default: 1G")
    parser.add_argument("--keep_case", action="store_true", help="for text.lowercase=False")
    parser.add_argument("--kenlm", help="folder of lmplz and build_binary; default: the PATH")
    args = parser.parse_args(argv)
    if args.order < 2:
        raise UserError(f"--order must be at least 2; got {args.order}")
    lmplz, binary = (_program(name, args.kenlm) for name in ("lmplz", "build_binary"))
    out = pathlib.Path(args.out)
    if out.suffix not in (".bin", ".arpa"):
        raise UserError(f"--out {out} must end in .bin or .arpa")
    config = AsrConfig(lowercase=not args.keep_case)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        sentences, arpa = pathlib.Path(folder) / "text", pathlib.Path(folder) / "lm.arpa"
        count, words = 0, set()
        with sentences.open("w", encoding="utf-8") as file:
            for source in args.sources:
                for line in _lines(source):
                    if line := alphabet.normalize(line, config):
                        file.write(line + "\n")
                        words.update(line.split())
                        count += 1
        if not count:
            raise UserError(f"no text in {', '.join(args.sources)}")
        # A small corpus lacks n-grams that Kneser-Ney's discounts are estimated from.
        options = ["-o", args.order, "-S", args.memory, "--discount_fallback"]
        _run([lmplz, *options, "--text", sentences, "--arpa", arpa])
        result = arpa
        if out.suffix == ".bin":
            result = arpa.with_suffix(".bin")
            _run([binary, arpa, result])
            listed = pathlib.Path(f"{folder}/words")
            listed.write_text("".join(f"{word}\n" for word in sorted(words)), encoding="utf-8")
            listed.replace(f"{out}{recognize.WORDS}")
        result.replace(out)
    print(f"{out}: {args.order}-gram of {count} sentences")
    return 0


def _lines(source: str) -> Iterator[str]:
    path = pathlib.Path(source)
    if path.suffix == ".txt":
        if not path.is_file():
            raise UserError(f"{source} does not exist")
        yield from path.read_text(encoding="utf-8").splitlines()
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


if __name__ == "__main__":
    run_tool(main)
