"""Errors of files that are not Lyra's; tests/oracles reads the real files."""

import pytest

from uniwav_jax.codec import lyra_tflite
from uniwav_jax.errors import UserError

pytest.importorskip("tflite", reason="extra lyra")


def test_errors_name_missing_and_damaged_files(tmp_path):
    with pytest.raises(UserError, match=r"soundstream_encoder\.tflite does not exist"):
        lyra_tflite.load(tmp_path)
    (tmp_path / lyra_tflite.FILES["encoder"]).write_bytes(b"TFL3" * 100)
    with pytest.raises(UserError, match=r"soundstream_encoder\.tflite is not a readable"):
        lyra_tflite.load(tmp_path)
