"""Features in PyTorch are those of uniwav_jax.features, there and back to sound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.codec.random_codec import random_codec
from uniwav_jax.codec import files
from uniwav_jax.codec import layers as codec_layers
from uniwav_jax.codec.config import FrontEndConfig, LyraConfig, MdctConfig, SEANetConfig
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.export import codec_chains, names
from uniwav_jax.export.torch import uniwav_features
from uniwav_jax.features.codec_latents import CodecFeatures
from uniwav_jax.features.log_mel import LogMel

# Codecs of one rate have every kind of layer that those of four have.
SHORT = {"ratios": (4,), "filters": 4, "dimension": 6, "kernel": 5, "last_kernel": 3}
CODECS = {
    "seanet": SEANetConfig(**SHORT, lstm=2, residual_layers=2),
    "causal": SEANetConfig(
        **SHORT, lstm=0, causal=True, true_skip=True, padding="constant", trim_right=0.5
    ),
    "lyra": LyraConfig(codebooks=0),
    "mdct": MdctConfig(hop=80, shape=9, quadrature=4, bands=5, width=16, inner=24),
    "front end": FrontEndConfig(dimension=6, kernels=(5, 3), strides=(4, 2)),
}


def statistics(channels):
    random = np.random.default_rng(1)
    return {
        "mean": random.normal(size=channels).astype(np.float32),
        "std": random.uniform(0.5, 2, channels).astype(np.float32),
    }


def described(features):
    return {name: getattr(features, name) for name in ("sample_rate", "hop", "channels", "context")}


def same(theirs, ours, bound=1e-5):
    """Shapes, and values relative to the largest."""
    theirs, ours = theirs.numpy(), np.asarray(ours)
    assert theirs.shape == ours.shape and theirs.dtype == ours.dtype == np.float32
    assert np.abs(theirs - ours).max() <= bound * np.abs(ours).max()


def log_mel(config):
    """Ours, theirs and parameters."""
    ours = LogMel(config)
    theirs = uniwav_features.build({**described(ours), "kind": "log_mel", "window": config.window})
    params = statistics(ours.channels)
    arrays = {**params, "filters": ours.filters}
    theirs.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return ours, theirs, params


@pytest.mark.parametrize("samples", [48000, 47999, 100])
def test_log_mel_of_speech(clip, samples):
    ours, theirs, params = log_mel(FeaturesConfig(mel_bands=40, window=400))
    audio = np.stack([clip[:samples], clip[9000 : 9000 + samples]])
    same(theirs.encode(torch.tensor(audio)), ours.encode(params, jnp.asarray(audio)), 1e-4)
    same(theirs.raw(torch.tensor(audio)), ours.raw(params, jnp.asarray(audio)), 1e-4)


def test_griffin_lim_gives_the_spectrogram_back(clip):
    """The phases start at other random values than ours, so the waves are not compared."""
    _, theirs, _ = log_mel(FeaturesConfig())
    x = theirs.encode(torch.tensor(clip[None, :48000]))
    audio = theirs.decode(x)
    assert audio.shape == (1, 48000) and audio.abs().max() <= 1.0
    assert (theirs.encode(audio) - x).abs().mean() < 0.2 * x.abs().mean()
    assert torch.equal(theirs.decode(x), audio)
    assert torch.allclose(
        theirs.restore(x), theirs.raw(torch.tensor(clip[None, :48000])), atol=1e-4
    )


@pytest.mark.parametrize("name", CODECS)
def test_codec_there_and_back(name, clip):
    structure = CODECS[name]
    network = random_codec(structure)["network"]
    config = FeaturesConfig(kind="codec", codec="of the test", hop=structure.hop)
    ours = CodecFeatures(config, files.describe(structure))
    c = {**described(ours), "kind": "codec"}
    c |= {part: codec_chains.describe(structure, part) for part in ("encoder", "decoder")}
    theirs = uniwav_features.build(c).eval().requires_grad_(False)
    params = {**statistics(ours.channels), "network": network}
    tensors = names.to_torch({"features": params}, codec_chains.rules(structure))
    given = {n.removeprefix("features."): torch.tensor(a) for n, a in tensors.items()}
    second = {n.replace("_ih_", "_hh_"): 0 * a for n, a in given.items() if ".bias_ih_l" in n}
    theirs.load_state_dict({**given, **second})  # strict: every tensor has a place
    samples = 4 * structure.hop - 3
    audio = np.pad(clip[8000 : 8000 + samples], ours.context)[None]
    x = jax.jit(ours.encode)(params, audio)
    assert x.shape == (1, 4, structure.dimension)
    same(theirs.encode(torch.tensor(audio), surrounded=True), x)
    same(theirs.encode(torch.tensor(clip[None, 8000 : 8000 + samples])), x)
    if name != "front end":
        same(theirs.decode(torch.tensor(np.asarray(x))), jax.jit(ours.decode)(params, x))


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("steps", [1, 3, 9])
def test_padding_of_what_is_too_short(mode, steps):
    x = np.arange(2.0 * steps, dtype=np.float32).reshape(1, steps, 2) + 1
    ours = codec_layers.pad(jnp.asarray(x), 4, 2, mode)
    theirs = uniwav_features.pad(torch.tensor(x).transpose(1, 2), 4, 2, mode)
    np.testing.assert_array_equal(theirs.transpose(1, 2), ours)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(16000), r"\[rows, samples\]"),
        (torch.zeros(1, 0), r"at least one sample"),
        (torch.zeros(16000, 2), r"channels averaged; got \(16000, 2\)"),
        (torch.zeros(1, 2, 16000), r"channels averaged"),
        (torch.full((1, 800), 1000.0), "not scaled"),
        (torch.full((1, 800), float("nan")), "NaN or infinite"),
    ],
)
def test_what_is_no_batch_of_waveforms(audio, message, monkeypatch):
    with pytest.raises(ValueError, match=message):
        uniwav_features.check_audio(audio)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    uniwav_features.check_audio(audio)  # values are unknown while torch.export traces the model


def test_features_stay_in_float32(clip):
    """Also under autocast, and in a model that is converted."""
    features = uniwav_features.build(
        {"kind": "log_mel", "sample_rate": 16000, "hop": 320, "window": 1024, "channels": 80}
    )
    features.filters += torch.rand(513, 80, generator=torch.Generator().manual_seed(0))
    audio = torch.tensor(clip[None])
    exact = features.encode(audio)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(features.encode(audio), exact)
    model = torch.nn.Sequential(features, torch.nn.Linear(2, 2)).half()
    assert model[1].weight.dtype == torch.float16
    assert torch.equal(features.encode(audio), exact)
