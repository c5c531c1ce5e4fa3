"""`uniwav features` and the PyTorch model's `extract` read long audio alike."""

import io

import numpy as np
import pytest
import soundfile
from array_record.python.array_record_data_source import ArrayRecordDataSource

from tests.export.conftest import make
from uniwav_jax import cli
from uniwav_jax.errors import UserError
from uniwav_jax.export import write

CHOICES = ("0,2,4", "sum", "codes", "teacher_codes")


@pytest.mark.parametrize("codec", ["", "seanet"])
def test_the_same_as_in_torch(codec, clip, tmp_path):
    model_lib = pytest.importorskip("uniwav_jax.export.torch.uniwav_model", reason="needs torch")
    import torch

    path = make(tmp_path, codec=codec, model__compute_dtype="bfloat16")  # files are float32
    for encoder in ("student", "teacher"):
        write.export(path, str(tmp_path / encoder), encoder=encoder)
    (tmp_path / "audio").mkdir()
    for name, length in (("long", len(clip)), ("short", 12345)):
        soundfile.write(tmp_path / "audio" / f"{name}.wav", clip[:length], 16000, subtype="FLOAT")
    for layers in CHOICES:
        options = ["--checkpoint", path, "--layers", layers, "--window", "2"]
        out = tmp_path / layers
        assert cli.main(["features", str(tmp_path / "audio"), *options, "--out", str(out)]) == 0
        chosen = [0, 2, 4] if layers == "0,2,4" else layers
        encoder = "teacher" if layers == "teacher_codes" else "student"
        model = model_lib.load(str(tmp_path / encoder))
        for name, length in (("long", len(clip)), ("short", 12345)):
            found = np.load(out / f"{name}.npz")
            theirs = model.extract(torch.tensor(clip[:length]), chosen, window=2.0).numpy()
            assert found["frames"].shape == theirs.shape
            assert len(theirs) == -(-length // 320) == len(found["times"])
            assert found["times"][:2] == pytest.approx([0.01, 0.03])
            if "codes" in layers:
                assert (found["frames"] != theirs).mean() < 0.01  # ties of rounding
            else:
                apart = np.abs(found["frames"] - theirs).max()
                assert apart < 1e-4 * np.abs(theirs).max()


def test_formats_and_errors(clip, tmp_path, capsys):
    path = make(tmp_path, task="asr")
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "good.wav", clip[:16000], 16000)
    (tmp_path / "audio" / "bad.wav").write_bytes(b"nothing")
    options = [str(tmp_path / "audio"), "--checkpoint", path, "--out", str(tmp_path / "out")]
    for form in ("npy", "array_record"):
        assert cli.main(["features", *options, "--layers", "4", "--format", form]) == 1
        assert "bad.wav" in capsys.readouterr().err
    frames = np.load(tmp_path / "out" / "good.npy")
    assert frames.shape == (50, 1, 160)
    source = ArrayRecordDataSource(str(tmp_path / "out" / "features.array_record"))
    (record,) = source.__getitems__([0])
    fields = np.load(io.BytesIO(record))
    assert str(fields["name"]) == "good.wav"
    np.testing.assert_array_equal(fields["frames"], frames)
    assert not list((tmp_path / "out").glob(".*"))
    for layers, message in (
        ("5", "0 to 4"),
        ("last", "give numbers"),
        ("sum", "no weights of layers"),
        ("codes", "has no heads; give one of pretraining"),
        ("teacher_codes", "has no codebooks and no teacher; give one of pretraining"),
    ):
        with pytest.raises(UserError, match=message):
            cli.main(["features", *options, "--layers", layers])
    with pytest.raises(UserError, match="4 frames are the least"):
        cli.main(["features", *options, "--layers", "4", "--window", "0"])
