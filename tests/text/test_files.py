"""Files of text in the encodings that editors write."""

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.text.files import read_text


def test_encodings(tmp_path):
    file = tmp_path / "a.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_text("caf\xe9\r\n", encoding=encoding, newline="")
        assert read_text(file) == "caf\xe9\r\n"
    file.write_text("caf\xe9", encoding="latin-1")
    with pytest.raises(UserError, match=r"a\.txt: not UTF-8 text \(byte 3\); convert it"):
        read_text(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_text(tmp_path / "absent.txt")
