"""N-gram models of text, with substitutes for kenlm's programs."""

import pytest

from uniwav_jax import cli
from uniwav_jax.errors import UserError


@pytest.fixture
def kenlm(tmp_path):
    """Substitutes for kenlm's programs, which count lines and copy."""
    folder = tmp_path / "kenlm"
    folder.mkdir()
    (folder / "lmplz").write_text(
        '#!/bin/sh\nwhile [ "$1" != --text ]; do shift; done\ncat "$2" > "$4"\n'
    )
    (folder / "build_binary").write_text('#!/bin/sh\ncp "$1" "$2"\n')
    for program in folder.iterdir():
        program.chmod(0o755)
    return folder


def test_kenlm_gets_text_normalised_like_the_recognisers(kenlm, tmp_path):
    (tmp_path / "text.txt").write_text("Hello  World\n\n it's\n", encoding="utf-8")
    out = tmp_path / "lm.bin"
    arguments = ["data", "lm", str(tmp_path / "text.txt"), "--out", str(out), "--kenlm"]
    assert cli.main([*arguments, str(kenlm)]) == 0
    assert out.read_text() == "hello world\nit's\n"
    assert {p.name for p in tmp_path.iterdir()} == {"kenlm", "text.txt", "lm.bin", "lm.bin.words"}
    assert (tmp_path / "lm.bin.words").read_text().split() == ["hello", "it's", "world"]
    (kenlm / "lmplz").write_text("#!/bin/sh\necho out of memory >&2; exit 3\n")
    with pytest.raises(UserError, match="out of memory"):
        cli.main([*arguments, str(kenlm)])
    with pytest.raises(UserError, match="lmplz was not found"):
        cli.main([*arguments, str(tmp_path)])
