"""Speech to tokens and back by commands, and what is shown of files of tokens."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.export.conftest import make
from tests.test_api import SMALL
from tests.tokens.examples import random_tokens
from uniwav_jax import cli
from uniwav_jax.errors import UserError
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


def make_run(folder, **more):
    """A run of random weights with two books of 16 codewords; `more` are other settings."""
    settings = {
        "task": "tokenizer",
        "init_from": "elsewhere",
        "tokenizer__layer": 1,
        "tokenizer__books": 2,
        "tokenizer__codewords": 16,
        "flow__sample_steps": 1,
        "flow__solver": "euler",
        **more,
    }
    return make(folder, codec="mdct", **SMALL, **settings)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def speech(prompts, tmp_path_factory):
    """A folder with two clips, 32001 and 8000 samples long."""
    folder = tmp_path_factory.mktemp("speech")
    for name, samples in (("one", 32001), ("two", 8000)):
        (folder / name).mkdir()
        soundfile.write(folder / name / "a.wav", prompts.speech(samples), 16000)
    return folder


def test_there_and_back(checkpoint, speech, tmp_path, capsys):
    """Folders of any format; damaged and foreign files are named, and the others are done."""
    model = ["--checkpoint", checkpoint]
    out = tmp_path / "tokens"
    assert cli.main(["tokenize", str(speech), *model, "--out", str(out), "--voice"]) == 0
    first = files.read(out / "one" / "a.uwt")
    assert first.codes.shape == (101, 2) and first.samples == 32001 and len(first.prompt) > 50
    (out / "broken.uwt").write_bytes(b"nothing")
    foreign = dataclasses.replace(first, model="0" * 16, prompt=None)
    files.write(out / "foreign.npz", foreign)
    back = tmp_path / "back"
    capsys.readouterr()
    assert cli.main(["detokenize", str(out), *model, "--out", str(back)]) == 1
    errors = capsys.readouterr().err
    assert "broken.uwt" in errors and f"model {'0' * 16}, but this is model {first.model}" in errors
    waves = {str(p.relative_to(back)): soundfile.read(p)[0] for p in back.rglob("*.wav")}
    assert {name: len(wave) for name, wave in waves.items()} == {
        "one/a.wav": 32001,
        "two/a.wav": 8000,
    }
    voice = ["--prompt", str(speech / "one" / "a.wav"), "--books", "1"]
    again = ["detokenize", str(out / "one"), *model, "--out", str(tmp_path / "other"), *voice]
    assert cli.main(again) == 0
    other = soundfile.read(tmp_path / "other" / "a.wav")[0]
    assert len(other) == 32001 and (other != waves["one/a.wav"]).any()
    # resynthesize does both at once.
    once = ["resynthesize", str(speech), *model, "--out", str(tmp_path / "once")]
    assert cli.main(once) == 0
    same = soundfile.read(tmp_path / "once" / "one" / "a.wav")[0]
    np.testing.assert_allclose(same, waves["one/a.wav"], atol=2e-4)


def test_a_manifest_becomes_a_table(checkpoint, speech, tmp_path, capsys):
    rows = "one/a.wav\t32001\t16000\thi there\ngone.wav\t100\t16000\tlost\n"
    (speech / "m.tsv").write_text(f"path\tsamples\tsample_rate\ttext\n{rows}")
    words = ["tokenize", str(speech / "m.tsv"), "--checkpoint", checkpoint]
    words += ["--out", str(tmp_path), "--format", "parquet", "--books", "1"]
    assert cli.main(words) == 1
    assert "gone.wav" in capsys.readouterr().err
    (clip,) = files.read_all(tmp_path / "tokens.parquet")
    assert (clip.id, clip.text, clip.codes.shape) == ("a", "hi there", (101, 1))


def test_a_clip_without_a_voice_is_named(checkpoint, speech, tmp_path, capsys):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    words = [str(tmp_path / "silent.wav"), "--checkpoint", checkpoint, "--out", str(tmp_path)]
    assert cli.main(["tokenize", *words, "--voice"]) == 1
    assert "silent.wav: the prompt is silent" in capsys.readouterr().err
    assert cli.main(["resynthesize", *words, "--no_voice"]) == 0
    assert len(soundfile.read(tmp_path / "silent.wav")[0]) == 16000


def test_another_checkpoint_is_refused(speech, tmp_path):
    words = [str(speech), "--checkpoint", make(tmp_path, **SMALL), "--out", str(tmp_path)]
    with pytest.raises(UserError, match="no tokenize; train one for speech tokens"):
        cli.main(["tokenize", *words])
