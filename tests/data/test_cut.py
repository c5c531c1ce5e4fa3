"""Long clips are cut at pauses into pieces with text, without losing or repeating samples."""

import csv

import numpy as np
import pytest
import soundfile

from uniwav_jax import cli
from uniwav_jax.data import cut as cut_lib
from uniwav_jax.errors import UserError
from uniwav_jax.text import textgrid

HEADER = "path\tsamples\tsample_rate\tspeaker\n"
SPOKEN = [
    (0.0, 0.4, ""),
    (0.4, 1.0, "one"),
    (1.0, 1.2, ""),
    (1.2, 2.0, "two"),
    (2.0, 2.02, "sp"),
    (2.02, 3.0, "three"),
    (3.0, 3.4, ""),
    (3.4, 4.0, "four"),
    (4.0, 4.5, ""),
]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (9.0, [(0.0, 4.5, "one two three four")]),
        (3.5, [(0.0, 3.2, "one two three"), (3.2, 4.5, "four")]),
        (1.5, [(0.0, 1.1, "one"), (1.1, 3.2, "two three"), (3.2, 4.5, "four")]),
    ],
)
def test_ends_in_the_last_pause_before_the_limit(seconds, expected):
    """A silence of 20 ms is no pause; speech without a pause stays in one piece."""
    found = cut_lib.pieces(SPOKEN, seconds, 0.08)
    assert [(start, end, " ".join(words)) for start, end, words in found] == expected


def test_pieces_make_up_the_clips(prompts, tmp_path):
    pytest.importorskip("praatio", reason="extra align")
    path = tmp_path / "long.flac"
    prompts.digits("8675309", path)
    manifest, missing = tmp_path / "long.tsv", tmp_path / "none.flac"
    manifest.write_text(f"{HEADER}{path}\t1\t16000\t7\n{missing}\t1\t16000\t1\n")
    out = tmp_path / "short"
    arguments = ["data", "cut", str(manifest), "--alignments", str(tmp_path), "--out", str(out)]
    assert cli.main([*arguments, "--seconds", "4"]) == 0
    with (out / "manifest.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    audio = [soundfile.read(out / row["path"], dtype="int16")[0] for row in rows]
    assert [len(a) for a in audio] == [int(row["samples"]) for row in rows]
    np.testing.assert_array_equal(np.concatenate(audio), soundfile.read(path, dtype="int16")[0])
    words = textgrid.tier(str(tmp_path / "long.TextGrid"), "words")
    spoken = [label for *_, label in words if label]
    assert " ".join(row["text"] for row in rows).split() == spoken and len(rows) > 2
    manifest.write_text(f"{HEADER}{missing}\t1\t16000\t1\n")
    with pytest.raises(UserError, match="no clip of"):
        cli.main(arguments)


def test_clips_of_one_name_keep_their_folders(prompts, tmp_path, capsys):
    """bert/0.wav has no TextGrid of its own and does not get anna's."""
    pytest.importorskip("praatio", reason="extra align")
    for speaker, digits in (("anna", "86"), ("bert", "75")):
        (tmp_path / speaker).mkdir()
        prompts.digits(digits, tmp_path / speaker / "0.flac")
    audio, rate = soundfile.read(tmp_path / "bert" / "0.flac")
    soundfile.write(tmp_path / "bert" / "0.wav", 0.9 * audio, rate, subtype="FLOAT")
    (tmp_path / "bert" / "0.TextGrid").unlink()
    manifest, out = tmp_path / "m.tsv", tmp_path / "out"
    rows = "anna/0.flac\t1\t16000\tanna\nbert/0.wav\t1\t16000\tbert\n"
    manifest.write_text(HEADER + rows)
    arguments = ["data", "cut", str(manifest), "--alignments", str(tmp_path), "--out", str(out)]
    assert cli.main(arguments) == 0
    paths = [line.split("\t")[0] for line in (out / "manifest.tsv").read_text().splitlines()[1:]]
    assert paths and all(path.startswith("anna/0_") for path in paths)
    # A clip that cannot be read does not stop the others.
    good = (tmp_path / "bert" / "0.wav").read_bytes()
    (tmp_path / "bert" / "0.wav").write_bytes(good[:20])
    (tmp_path / "bert" / "0.TextGrid").write_text("no TextGrid")
    assert cli.main([*arguments[:-1], str(tmp_path / "some")]) == 1
    assert "bert/0.TextGrid cannot be read" in capsys.readouterr().err
    (tmp_path / "bert" / "0.TextGrid").write_text((tmp_path / "anna" / "0.TextGrid").read_text())
    assert cli.main([*arguments[:-1], str(tmp_path / "others")]) == 1
    assert "bert/0.wav cannot be decoded" in capsys.readouterr().err
    assert (tmp_path / "others" / "anna" / "0_000.flac").is_file()
    (tmp_path / "bert" / "0.wav").write_bytes(good)
    # A float file keeps its samples.
    assert cli.main([*arguments[:-1], str(tmp_path / "more")]) == 0
    piece, _ = soundfile.read(tmp_path / "more" / "bert" / "0_000.flac")
    assert np.abs(piece - 0.9 * audio[: len(piece)]).max() <= 0.5 / 32768 + 1e-7
