"""`uniwav encode` and `uniwav decode` on real files of any rate and length; clear errors."""

import numpy as np
import pytest
import soundfile

from tests.codec.random_codec import random_codec
from uniwav_jax import cli
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.codec.network import Codec
from uniwav_jax.errors import UserError
from uniwav_jax.inference import codec_files as codec_lib
from uniwav_jax.models import quantizer

CONFIG = SEANetConfig(filters=4, dimension=8, codebooks=3, codewords=16)


@pytest.fixture(scope="module")
def params():
    return random_codec(CONFIG)


@pytest.fixture(scope="module")
def codec(params, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "codec"
    files.save(folder, CONFIG, params, info={})
    return str(folder)


@pytest.fixture
def audio(clip, tmp_path):
    """A folder with one clip twice: unchanged, and in stereo at 24 kHz."""
    folder = tmp_path / "audio"
    (folder / "deep").mkdir(parents=True)
    soundfile.write(folder / "a.flac", clip, 16000)
    soundfile.write(folder / "deep" / "b.wav", np.stack([clip, clip], 1), 24000)
    return folder


def test_latents_and_audio_equal_those_of_the_network(codec, params, audio, clip, tmp_path):
    out = tmp_path / "latents"
    assert cli.main(["encode", str(audio), "--codec", codec, "--out", str(out)]) == 0
    found = np.load(out / "a.npz")
    exact, _ = soundfile.read(audio / "a.flac", dtype="float32")
    network = {"params": params["network"]}
    filled = np.pad(exact, (0, -len(exact) % CONFIG.hop))
    z = np.asarray(Codec(CONFIG).apply(network, filled[None], method="encode")[0])
    np.testing.assert_allclose(found["latents"], z, atol=1e-4 * np.abs(z).max())
    assert int(found["samples"]) == len(clip)
    other = np.load(out / "deep" / "b.npz")
    assert abs(int(other["samples"]) - len(clip) * 16000 / 24000) <= 1

    sound = tmp_path / "sound"
    assert cli.main(["decode", str(out), "--codec", codec, "--out", str(sound)]) == 0
    decoded, rate = soundfile.read(sound / "a.wav")
    expected = np.asarray(Codec(CONFIG).apply(network, z[None], method="decode")[0])
    assert rate == 16000 and len(decoded) == len(clip)
    np.testing.assert_allclose(decoded, np.clip(expected, -1, 1)[: len(clip)], atol=1e-3)


def test_codes(codec, params, audio, tmp_path):
    out = tmp_path / "codes"
    flags = ["--codec", codec, "--out", str(out), "--codebooks", "2"]
    assert cli.main(["encode", str(audio / "a.flac"), *flags]) == 0
    codes = np.load(out / "a.npz")["codes"]
    assert codes.dtype == np.int16 and len(codes) == 2
    file_codec = codec_lib.FileCodec.load(codec)
    blocks = list(codec_lib.read_blocks(str(audio / "a.flac"), sample_rate=16000))
    latents = file_codec.encode(blocks)
    own = quantizer.encode(params["codebooks"][:2], latents[None])[:, 0]
    assert (np.asarray(own) == codes).mean() > 0.99  # rounding decides ties
    flags = ["--codec", codec, "--out", str(tmp_path / "sound")]
    assert cli.main(["decode", str(out / "a.npz"), *flags]) == 0
    with pytest.raises(UserError, match="has 3 codebooks, not 4"):
        file_codec.encode(blocks, stages=4)


def test_errors_name_bad_files_and_other_files_are_processed(codec, audio, tmp_path, capsys):
    (audio / "broken.wav").write_bytes(b"RIFF but not really")
    soundfile.write(audio / "empty.wav", np.zeros(0), 16000)
    out = tmp_path / "latents"
    assert cli.main(["encode", str(audio), "--codec", codec, "--out", str(out)]) == 1
    errors = capsys.readouterr().err
    assert "broken.wav cannot be decoded" in errors and "empty.wav has no audio" in errors
    assert sorted(p.name for p in out.rglob("*.npz")) == ["a.npz", "b.npz"]
    (out / "a.npz").write_bytes((out / "a.npz").read_bytes()[:300])
    sound = tmp_path / "sound"
    assert cli.main(["decode", str(out), "--codec", codec, "--out", str(sound)]) == 1
    assert "a.npz is not a file of 'uniwav encode'" in capsys.readouterr().err
    assert [p.name for p in sound.rglob("*.*")] == ["b.wav"]
    files.save(
        tmp_path / "other", SEANetConfig(filters=4), random_codec(SEANetConfig(filters=4)), info={}
    )
    flags = ["--codec", str(tmp_path / "other"), "--out", str(sound)]
    assert cli.main(["decode", str(out / "deep" / "b.npz"), *flags]) == 1
    assert "was encoded with codec" in capsys.readouterr().err
    with pytest.raises(UserError, match="does not exist"):
        cli.main(["encode", str(tmp_path / "absent"), "--codec", codec, "--out", str(out)])
    with pytest.raises(UserError, match=r"no \.wav"):
        cli.main(["encode", str(out), "--codec", codec, "--out", str(out)])
