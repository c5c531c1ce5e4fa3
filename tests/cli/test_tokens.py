"""`uniwav info`: what is shown of whole and damaged files."""

import subprocess
import sys

import numpy as np

from tests.tokens.examples import random_tokens
from uniwav_jax import cli
from uniwav_jax.tokens import files


def write(path, **fields):
    given = {"frames": 600, "book_sizes": [1024, 1000], "text": "a " * 60, **fields}
    tokens = random_tokens(np.random.default_rng(0), **given)
    files.write(path, tokens)
    return tokens


def test_whole_files(tmp_path, capsys):
    write(tmp_path / "a.uwt", prompt=np.ones((150, 64)), prompt_name="voice.wav")
    write(tmp_path / "b.npz", prompt=None, prompt_name="speaker 4", id="b")
    clips = [random_tokens(np.random.default_rng(n), book_sizes=[4]) for n in range(3)]
    files.write_rows(tmp_path / "c.parquet", clips)
    assert cli.main(["info", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    size = (tmp_path / "a.uwt").stat().st_size
    assert lines[0] == (
        f"{tmp_path}/a.uwt: 1 clip, 11.99 s, 600 frames of 1024 + 1000 codewords, 50 per second,"
        " model 00ff12ab34cd56ef"
    )
    assert (
        lines[1].startswith("  payload 998, entropy 8")
        and f"({size} bytes, of them 19200" in (lines[1])
    )
    assert lines[2].startswith("  book 1: 4") and "% of the codewords used, perplexity" in lines[2]
    assert lines[5].startswith("  text: a a a") and lines[5].endswith("a  ...")
    assert lines[6] == "  prompt: 150 frames of 64 channels, voice.wav"
    assert "  id: b" in lines
    assert "  prompt: speaker 4, which the file names but does not contain" in lines
    assert any("c.parquet: 3 clips, " in line for line in lines)
    together = [line for line in lines if line.startswith("together: ")]
    assert len(together) == 2 and "2 clips, 23.99 s, 1200 frames" in together[0]


def test_damaged_files(tmp_path, capsys):
    names = [str(tmp_path / name) for name in ("a.uwt", "b.uwt", "c.npz")]
    for name in names:
        write(name, prompt=None)
    for name, place in zip(names, (-8, 20, 200), strict=True):
        content = bytearray((tmp_path / name).read_bytes())
        content[place] ^= 1
        (tmp_path / name).write_bytes(content)
    write(tmp_path / "d.uwt", frames=0)
    assert cli.main(["info", *names, str(tmp_path / "d.uwt")]) == 1
    printed = capsys.readouterr()
    errors = printed.err.splitlines()
    assert errors[0] == (
        f"error: {names[0]}: book 2: frames 512 to 599 (10.24 to 12.00 s) are damaged"
    )
    assert errors[1].startswith(f"error: {names[1]}: its header is damaged")
    assert errors[2].startswith(f"error: {names[2]}") and len(errors) == 3
    assert (
        f"{names[0]}: 1 clip, 11.99 s, 600 frames" in printed.out
        and "d.uwt: 1 clip, 0.00 s" in printed.out
    )
    assert "file - bit/s" in printed.out
    assert names[1] not in printed.out and names[2] not in printed.out


def test_it_needs_no_jax(tmp_path):
    write(tmp_path / "a.uwt")
    program = (
        f"import sys; from uniwav_jax import cli; cli.main(['info', {str(tmp_path)!r}]);"
        "assert not {'jax', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
