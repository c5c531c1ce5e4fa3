"""Commands find the files in folders; missing files are errors."""

import pytest

from uniwav_jax.cli import files
from uniwav_jax.errors import UserError


def test_folders_are_searched_and_files_are_accepted(tmp_path, capsys):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("b.WAV", "deep/a.flac", "c.txt"):
        (tmp_path / "in" / name).write_text("")
    (tmp_path / "single.xyz").write_text("")
    found = list(
        files.find([str(tmp_path / "in"), str(tmp_path / "single.xyz")], (".wav", ".flac"))
    )
    assert [name for _, name in found] == ["b.WAV", "deep/a.flac", "single.xyz"]
    with pytest.raises(UserError, match=r"no \.mp3 below"):
        list(files.find([str(tmp_path / "in")], (".mp3",)))
    with pytest.raises(UserError, match="does not exist"):
        list(files.find([str(tmp_path / "none")], (".wav",)))
    assert files.report("x") == 1 and capsys.readouterr().err == "error: x\n"


def test_names_of_results(tmp_path):
    for name in ("x/1.flac", "y/1.flac", "y/1.wav", "._y.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    given = [str(tmp_path / name) for name in ("x/1.flac", "y/1.flac")]
    names = [name for _, name in files.find(given, (".flac",))]
    assert names == ["x/1.flac", "y/1.flac"]
    files.check_names(names)
    # Folders with files of the same names, a file that is given twice, and a link to a folder.
    (tmp_path / "link").symlink_to(tmp_path / "x")
    for places in (("x", "y"), ("x/1.flac", "y"), ("x/../y", "x", "x/1.flac")):
        given = [str(tmp_path / place) for place in places]
        names = sorted(name for _, name in files.find(given, (".flac",)))
        assert names == ["x/1.flac", "y/1.flac"]
    with pytest.raises(UserError, match=r"results of 1\.flac and 1\.flac"):
        files.check_names(["1.flac", "1.flac"])
    found = [name for _, name in files.find([str(tmp_path)], (".flac", ".wav"))]
    assert found == ["x/1.flac", "y/1.flac", "y/1.wav"]
    with pytest.raises(UserError, match=r"results of y/1\.flac and y/1\.wav would have the same"):
        files.check_names(found)
