"""`uniwav features`: formats, unreadable files, and invalid choices of layers."""

import io

import numpy as np
import pytest
import soundfile
from array_record.python.array_record_data_source import ArrayRecordDataSource

from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax import cli
from uniwav_jax.errors import UserError


def test_formats_and_errors(clip, tmp_path, capsys):
    path = make(tmp_path, task="asr", **SMALL)
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "good.wav", clip[:16000], 16000)
    (tmp_path / "audio" / "bad.wav").write_bytes(b"nothing")
    options = [str(tmp_path / "audio"), "--checkpoint", path, "--out", str(tmp_path / "out")]
    for form in ("npz", "npy", "array_record"):
        assert cli.main(["features", *options, "--layers", "2", "--format", form]) == 1
        assert "bad.wav" in capsys.readouterr().err
    frames = np.load(tmp_path / "out" / "good.npy")
    assert frames.shape == (50, 1, 32)
    written = np.load(tmp_path / "out" / "good.npz")
    np.testing.assert_array_equal(written["frames"], frames)
    assert written["layers"].tolist() == [2]
    assert len(written["times"]) == 50 and written["times"][:2] == pytest.approx([0.01, 0.03])
    source = ArrayRecordDataSource(str(tmp_path / "out" / "features.array_record"))
    (record,) = source.__getitems__([0])
    fields = np.load(io.BytesIO(record))
    assert str(fields["name"]) == "good.wav"
    np.testing.assert_array_equal(fields["frames"], frames)
    assert not list((tmp_path / "out").glob(".*"))
    for layers, message in (
        ("5", "0 to 2"),
        ("last", "give numbers"),
        ("sum", "no weights of layers"),
        ("codes", "has no heads; give one of pretraining"),
        ("teacher_codes", "has no codebooks and no teacher; give one of pretraining"),
    ):
        with pytest.raises(UserError, match=message):
            cli.main(["features", *options, "--layers", layers])
    with pytest.raises(UserError, match="4 frames are the least"):
        cli.main(["features", *options, "--layers", "2", "--window", "0"])
