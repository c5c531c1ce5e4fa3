"""TextGrids as labels of frames: closed forms, real files, real speech."""

import itertools
import sys

import numpy as np
import pytest
import soundfile

from uniwav_jax.errors import UserError
from uniwav_jax.text import textgrid


def test_frame_labels_at_centres():
    """At 50 frames per second centres are at 10, 30, 50 ms, and so on."""
    intervals = [(0.0, 0.05, "sil"), (0.05, 0.09, "AH"), (0.11, 0.13, "N")]
    labels = textgrid.frame_labels(intervals, 8, 50.0)
    assert labels.tolist() == ["sil", "sil", "AH", "AH", "sil", "N", "sil", "sil"]


def test_real_textgrids(librispeech):
    grids = sorted((librispeech / "alignments").glob("4088-158077-*.TextGrid"))[:5]
    assert len(grids) == 5
    for grid in grids:
        intervals = textgrid.phones(str(grid))
        audio = next((librispeech / "librispeech").rglob(f"{grid.stem}.opus"))
        info = soundfile.info(audio)
        seconds = info.frames / info.samplerate
        assert intervals[0][0] == 0.0
        assert intervals[-1][1] == pytest.approx(seconds, abs=0.05)
        for before, after in itertools.pairwise(intervals):
            assert before[1] == after[0]
        # There are as many phones as ARPAbet labels in the text of the file.
        text = grid.read_text().split('name = "phones"')[1]
        marks = [line.split('"')[1] for line in text.splitlines() if "text =" in line]
        assert len(marks) == len(intervals)
        spoken = [phone for _, _, phone in intervals if phone != "sil"]
        assert len(spoken) == sum(mark not in ("", "sil", "sp", "spn") for mark in marks)
        assert all(phone.isalpha() and phone.isupper() for phone in spoken)
        # With 50 labels per second, each interval has labels for its length, up to a frame per end.
        labels = textgrid.frame_labels(intervals, round(seconds * 50), 50.0)
        for start, end, phone in intervals:
            here = labels[round(start * 50) : round(end * 50)]
            assert (here == phone).sum() >= len(here) - 2


def test_labels_line_up_with_the_sound(prompts, tmp_path):
    """Frames labelled as silence are quieter than speech; with reversed labels they are not."""
    pytest.importorskip("praatio", reason="extra align")
    prompts.digits("31415926", tmp_path / "a.flac")
    grid = tmp_path / "a.TextGrid"
    audio, rate = soundfile.read(tmp_path / "a.flac", dtype="float64")
    frames = len(audio) * 50 // rate
    power = np.square(audio[: frames * rate // 50].reshape(frames, -1)).mean(1)
    level = 10 * np.log10(power + 1e-10)
    quiet = textgrid.frame_labels(textgrid.phones(str(grid)), frames, 50.0) == "sil"
    contrast = level[~quiet].mean() - level[quiet].mean()
    assert contrast > 15  # decibels
    assert contrast > 2 * (level[~quiet[::-1]].mean() - level[quiet[::-1]].mean())


def test_textgrid_errors(tmp_path, monkeypatch):
    broken = tmp_path / "broken.TextGrid"
    broken.write_text("not a TextGrid")
    with pytest.raises(UserError, match=r"broken\.TextGrid cannot be read"):
        textgrid.phones(str(broken))
    with pytest.raises(UserError, match=r"absent\.TextGrid cannot be read"):
        textgrid.phones(str(tmp_path / "absent.TextGrid"))
    words = tmp_path / "words.TextGrid"
    words.write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\n'
        "tiers? <exists>\nsize = 1\nitem []:\n    item [1]:\n"
        '        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n'
        "        xmax = 1\n        intervals: size = 1\n        intervals [1]:\n"
        '            xmin = 0\n            xmax = 1\n            text = "war"\n'
    )
    with pytest.raises(UserError, match=r"no tier 'phones'.*words"):
        textgrid.phones(str(words))
    monkeypatch.setitem(sys.modules, "praatio", None)
    with pytest.raises(UserError, match="pip install"):
        textgrid.phones(str(words))


LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.03
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2.03
        intervals: size = 2
        intervals [1]:
            xmin = 1e-05
            xmax = 5.0E-1
            text = " SP "
        intervals [2]:
            xmin = 1.0
            xmax = 1.5
            text = "1e-05 x"
    item [2]:
        class = "TextTier"
        name = "points"
        xmin = 0
        xmax = 2.03
        points: size = 1
        points [1]:
            number = 1e-1
            mark = "x"
"""


def test_gaps_are_pauses_and_times_have_exponents(tmp_path):
    """Praat and Python write 1e-05, which praatio 6.2 does not read in this format."""
    pytest.importorskip("praatio", reason="extra align")
    file = tmp_path / "a.TextGrid"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_text(LONG, encoding=encoding)
        assert textgrid.tier(str(file), "words") == [
            (0.0, 1e-05, ""),
            (1e-05, 0.5, "SP"),
            (0.5, 1.0, ""),
            (1.0, 1.5, "1e-05 x"),
            (1.5, 2.03, ""),
        ]
    silent = [
        label for *_, label in textgrid.tier(str(file), "words") if textgrid.is_silence(label)
    ]
    assert silent == ["", "SP", "", ""]
    with pytest.raises(UserError, match="'points' has points in it; it must have intervals"):
        textgrid.tier(str(file), "points")
    empty = LONG.replace("intervals: size = 2", "intervals: size = 0")
    start, end = empty.index("        intervals [1]"), empty.index("    item [2]")
    file.write_text(empty[:start] + empty[end:])
    with pytest.raises(UserError, match="'words' has nothing in it"):
        textgrid.tier(str(file), "words")


SHORT = """! made by hand
File type = "ooTextFile"
Object class = "TextGrid"

0 ! start
2.03
<exists> ! flag
1
"IntervalTier"
"words"
! "
0
2.03
2
0
0.5 ! end
"hey! ""you"" !"
0.5
2.03
"! b"
"""


def test_comments(tmp_path):
    """Praat leaves out what follows an exclamation mark outside labels."""
    pytest.importorskip("praatio", reason="extra align")
    file = tmp_path / "a.TextGrid"
    file.write_text(SHORT, newline="\r\n")
    assert textgrid.tier(str(file), "words") == [(0.0, 0.5, 'hey! "you" !'), (0.5, 2.03, "! b")]
    file.write_text(LONG.replace("5.0E-1", "5.0E-1 ! here").replace("tiers?", "! above\ntiers?"))
    assert textgrid.tier(str(file), "words")[1] == (1e-05, 0.5, "SP")


@pytest.mark.parametrize("name", ["Words", " words ", "anna - words"])
def test_names_of_tiers(tmp_path, name):
    pytest.importorskip("praatio", reason="extra align")
    file = tmp_path / "a.TextGrid"
    file.write_text(LONG.replace('"words"', f'"{name}"'))
    assert textgrid.tier(str(file), "words")[1] == (1e-05, 0.5, "SP")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("xmin = 1.0\n", "xmin = 0.4\n", r"overlap in time: .*0\.5.* and .*0\.4"),
        ("xmin = 1e-05", "xmin = -0.2", "has negative times"),
        ("xmin = 1.0\n", "xmin = 1.5\n", r"\(1\.5\) cannot occur .*; correct it in Praat"),
        ('"words"', '"w\xf6rter"', "not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_a_grid(tmp_path, old, new, message):
    pytest.importorskip("praatio", reason="extra align")
    file = tmp_path / "a.TextGrid"
    file.write_text(LONG.replace(old, new), encoding="latin-1")
    with pytest.raises(UserError, match=rf"a\.TextGrid .*{message}"):
        textgrid.tier(str(file), "words")


def test_tiers_of_two_speakers_are_not_confused(tmp_path):
    pytest.importorskip("praatio", reason="extra align")
    file = tmp_path / "a.TextGrid"
    content = LONG.replace('"words"', '"anna - words"').replace('"points"', '"bert - words"')
    file.write_text(content)
    with pytest.raises(UserError, match=r"several tiers of words \(anna - words, bert - words"):
        textgrid.tier(str(file), "words")


def test_written_grids_end_where_the_file_ends(tmp_path):
    pytest.importorskip("praatio", reason="extra align")
    textgrid.write(str(tmp_path / "a.TextGrid"), {"words": [(0.5, 1.02, "x")]}, 1.0111875)
    assert textgrid.tier(str(tmp_path / "a.TextGrid"), "words") == [
        (0.0, 0.5, ""),
        (0.5, 1.0111875, "x"),
    ]
