"""Lists of clips and prompts: which clips, which prompts, and manifests that do not fit."""

import pytest

from uniwav_jax import cli
from uniwav_jax.data import manifest
from uniwav_jax.data.speech_list import write
from uniwav_jax.errors import UserError

PHONES = "sil HH_B AY1_E\t0.5 1.0 {end:.1f}"


@pytest.fixture
def source(tmp_path):
    """Clips a0 (5 s), b0 (3.5 s), a1 (2 s), a2 (12 s), b1 (9 s), c0 (5 s), d0 (5 s, no text)."""
    lengths = {"a0": 5, "b0": 3.5, "a1": 2, "a2": 12, "b1": 9, "c0": 5, "d0": 5}
    rows = ["path\tsamples\tsample_rate\tspeaker\ttext\tphones\tphone_ends"]
    for name, seconds in lengths.items():
        text = "" if name == "d0" else f"text {name}"
        row = (f"{name}.wav", str(round(seconds * 8000)), "8000", name[0], text)
        rows.append("\t".join((*row, PHONES.format(end=seconds))))
    (tmp_path / "all.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "all.tsv"


def listed(path, *columns):
    corpus = manifest.load(str(path), cache=str(path.parent))
    return [
        (corpus.name(row), *(corpus.label(row, column) for column in columns))
        for row in range(len(corpus))
    ]


def test_continuations_are_their_own_prompts(source, capsys):
    out = source.parent / "list.tsv"
    assert write(str(source), str(out), protocol="continuation") == 3
    names = ("a0.wav", "b1.wav", "c0.wav")
    assert listed(out, "prompt", "prompt_text") == [(n, n, f"text {n[:2]}") for n in names]
    printed = capsys.readouterr().out
    assert "3 of 7 clips (3 outside the lengths, 1 without text)" in printed


def test_prompts_are_other_clips_of_the_speaker(source):
    (source.parent / "lists").mkdir()
    out = source.parent / "lists" / "cross.tsv"
    words = ["data", "speech_list", str(source), "--protocol", "cross", "--max_seconds", "12"]
    assert cli.main([*words, "--out", str(out)]) == 0
    folder = source.parent
    found = listed(out, "prompt", "prompt_text", "prompt_phone_ends")
    assert found == [
        (f"{folder}/a0.wav", f"{folder}/a2.wav", "text a2", "0.5 1.0 12.0"),
        (f"{folder}/a2.wav", f"{folder}/a0.wav", "text a0", "0.5 1.0 5.0"),
        (f"{folder}/b1.wav", f"{folder}/b0.wav", "text b0", "0.5 1.0 3.5"),
    ]
    again = out.read_text()
    cli.main([*words, "--out", str(out)])
    assert out.read_text() == again


def test_a_manifest_without_phones(source):
    rows = [line.rsplit("\t", 2)[0] for line in source.read_text().splitlines()]
    source.write_text("\n".join(rows) + "\n")
    out = source.parent / "list.tsv"
    write(str(source), str(out), protocol="cross")
    assert out.read_text().splitlines()[0].endswith("text\tprompt\tprompt_text")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "other"}, "one of continuation, cross; got 'other'"),
        ({"protocol": "cross", "min_seconds": 2.0}, "longer than the prompt of 3 s"),
        ({"protocol": "cross", "min_seconds": 90.0, "max_seconds": 99.0}, "no clip of 90 to 99 s"),
    ],
)
def test_mistakes(source, options, message):
    out = source.parent / "list.tsv"
    with pytest.raises(UserError, match=message):
        write(str(source), str(out), **options)
    assert not out.exists()
