"""Codec latents of a clip are the same alone, padded, and cut from a longer clip."""

import jax
import numpy as np
import pytest

from tests.codec.random_codec import random_codec
from uniwav_jax import features as features_lib
from uniwav_jax.codec import chunked, files
from uniwav_jax.codec.config import LyraConfig, SEANetConfig
from uniwav_jax.codec.network import chain
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.errors import UserError

CODECS = {
    "convolutions": SEANetConfig(filters=4, dimension=8, lstm=0),
    "lstm": SEANetConfig(filters=4, dimension=8, causal=True, padding="constant"),
    "lyra": LyraConfig(codebooks=0),
}


@pytest.fixture(scope="module", params=CODECS)
def codec(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs") / request.param
    files.save(folder, CODECS[request.param], random_codec(CODECS[request.param]), info={})
    return features_lib.build(FeaturesConfig(kind="codec", codec=str(folder)))


def test_frames_do_not_depend_on_padding_and_crop(codec, clip):
    raw = jax.jit(codec.raw)
    left, right = codec.context
    audio = np.round(clip[:48123] * 32767).astype(np.int16)
    alone = np.asarray(raw(codec.weights, np.pad(audio, (left, right))[None])[0])
    assert alone.shape == (codec.output_length(48123), codec.channels)
    scale = np.abs(alone).max()

    padded = raw(codec.weights, np.pad(audio, (left, right + 9000))[None])[0]
    np.testing.assert_allclose(padded[: len(alone)], alone, atol=1e-5 * scale)

    first, frames = 50, 40  # frames of the crop, which reads audio on both sides
    start, stop = first * codec.hop - left, (first + frames) * codec.hop + right
    crop = np.pad(audio, (left, right))[start + left : stop + left]
    cut = np.asarray(raw(codec.weights, crop[None])[0])
    assert cut.shape == (frames, codec.channels)
    # An LSTM reads one second before the crop, but all the audio before in the whole clip. The
    # measured difference is 0.0012.
    bound = 1e-2 if chunked.has_memory(chain(codec.config, "encoder")) else 1e-5
    np.testing.assert_allclose(cut, alone[first : first + frames], atol=bound * scale)
    # The context is needed, because without it the first frames differ.
    bare = np.pad(audio[first * codec.hop : stop], (left, 0))
    bare = np.asarray(raw(codec.weights, bare[None])[0])
    assert np.abs(bare[0] - alone[first]).max() > 1e-3 * scale


def test_latents_are_normalised_and_decoded(codec, clip):
    params = {**codec.weights, "mean": np.arange(codec.channels), "std": np.full(1, 2.0)}
    audio = np.pad(clip[None, :6400], ((0, 0), codec.context))
    x = np.asarray(codec.encode(params, audio))
    np.testing.assert_allclose(
        x * 2.0 + np.arange(codec.channels), codec.raw(codec.weights, audio), atol=1e-4
    )
    sound = codec.decode(params, x)
    assert sound.shape == (1, 6400) and np.abs(sound).max() <= 1.0


def test_other_rate_is_an_error(codec, tmp_path):
    files.save(
        tmp_path / "c",
        SEANetConfig(filters=2, sample_rate=24000),
        random_codec(SEANetConfig(filters=2, sample_rate=24000)),
        info={},
    )
    with pytest.raises(UserError, match=r"features\.sample_rate=24000"):
        features_lib.build(FeaturesConfig(kind="codec", codec=str(tmp_path / "c")))
    with pytest.raises(UserError, match=r"codec\.json does not exist"):
        features_lib.build(FeaturesConfig(kind="codec", codec=str(tmp_path)))
