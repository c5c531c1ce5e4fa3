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
