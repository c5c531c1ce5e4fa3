"""Hidden files are skipped and links followed, by every command that takes a folder."""

from uniwav_jax.audio import folders


def test_files_of_a_folder(tmp_path):
    for name in ("b.wav", "x/A.WAV", "x/._A.wav", ".git/c.wav", "y/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "y" / "back").symlink_to(tmp_path)  # a circle
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "more").symlink_to(tmp_path / "x")
    found = list(map(str, folders.find(tmp_path / "z", (".wav",))))
    assert found == ["more/A.WAV"]
    assert list(map(str, folders.find(tmp_path, (".wav",)))) == ["b.wav", "x/A.WAV"]
