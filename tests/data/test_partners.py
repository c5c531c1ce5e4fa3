"""A file belongs to the clip with the most equal folders, or to none."""

import pytest

from uniwav_jax.data.partners import match, short_names
from uniwav_jax.errors import UserError


def grids(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return str(folder)


@pytest.mark.parametrize(
    ("files", "clips", "found"),
    [
        (["a.TextGrid"], ["a.wav", "b.wav"], ["a.TextGrid", None]),
        (["anna/0.TextGrid"], ["anna/0.wav", "bert/0.wav"], ["anna/0.TextGrid", None]),
        # The Montreal Forced Aligner repeats the corpus's folders.
        (
            ["out/anna/0.TextGrid", "out/bert/0.textgrid"],
            ["/corpus/anna/0.wav", "/corpus/bert/0.wav"],
            ["out/anna/0.TextGrid", "out/bert/0.textgrid"],
        ),
        (["0.TextGrid", "bert/0.TextGrid"], ["bert/0.wav"], ["bert/0.TextGrid"]),
        (["._a.TextGrid", "a.b.TextGrid"], ["a.wav", "a.b.wav"], [None, "a.b.TextGrid"]),
    ],
)
def test_partners(tmp_path, files, clips, found):
    folder = grids(tmp_path, *files)
    expected = [None if name is None else str(tmp_path / name) for name in found]
    assert match(clips, folder, ".TextGrid") == expected


@pytest.mark.parametrize(
    ("files", "clips", "message"),
    [
        (["0.TextGrid"], ["anna/0.wav", "bert/0.wav"], "could belong to anna/0.wav and to bert"),
        (["x/0.TextGrid", "y/0.TextGrid"], ["0.wav"], "both x/0.TextGrid and y/0.TextGrid"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, files, clips, message):
    with pytest.raises(UserError, match=message):
        match(clips, grids(tmp_path, *files), ".TextGrid")


def test_a_missing_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        match(["a.wav"], str(tmp_path / "none"), ".TextGrid")


def test_short_names():
    assert short_names(["x/1.flac", "y/2.flac"]) == ["1.flac", "2.flac"]
    assert short_names(["x/1.flac", "y/1.flac"]) == ["x/1.flac", "y/1.flac"]
    assert short_names(["/a/b/x/1.flac", "/a/c/1.flac", "/a/2.flac"]) == [
        "b/x/1.flac",
        "c/1.flac",
        "2.flac",
    ]
    assert short_names([]) == []
