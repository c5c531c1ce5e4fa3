"""Parity of the discriminator with `encodec`, with random weights on real speech."""

import sys
import types

import jax
import numpy as np
import pytest

from uniwav_jax.models.discriminator import Discriminator

HOW = "needs tests/requirements-oracles.txt and encodec 0.1.1"
torch = pytest.importorskip("torch", reason=HOW)


class Spectrogram(torch.nn.Module):
    """A substitute for torchaudio's class, as far as encodec uses it.

    The spectrogram is complex and not centred, and its window has unit energy.
    """

    def __init__(self, n_fft, hop_length, win_length, window_fn, **_):
        super().__init__()
        self.window = window_fn(win_length)
        self.options = {"n_fft": n_fft, "hop_length": hop_length, "win_length": win_length}

    def forward(self, x):
        spectrum = torch.stft(
            x[:, 0], window=self.window, center=False, return_complex=True, **self.options
        )
        return (spectrum / self.window.square().sum().sqrt())[:, None]


try:
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    sys.modules["torchaudio"].transforms = types.SimpleNamespace(Spectrogram=Spectrogram)
    from encodec.msstftd import MultiScaleSTFTDiscriminator
except ImportError:
    pytest.skip(HOW, allow_module_level=True)
finally:
    del sys.modules["torchaudio"]


def test_discriminator(clip):
    torch.manual_seed(0)
    theirs = MultiScaleSTFTDiscriminator(filters=8, norm="none")
    params = {}
    for window, module in zip((1024, 2048, 512), theirs.discriminators, strict=True):
        layers = {f"convolution_{i}": conv for i, conv in enumerate(module.convs)}
        params[f"window_{window}"] = {
            name: {
                "kernel": wrapped.conv.weight.detach().numpy().transpose(2, 3, 1, 0),
                "bias": wrapped.conv.bias.detach().numpy(),
            }
            for name, wrapped in {**layers, "logits": module.conv_post}.items()
        }
    with torch.no_grad():
        logits, features = theirs(torch.from_numpy(clip[None, None, :16000]))
    ours = jax.jit(Discriminator((1024, 2048, 512), 8).apply)(
        {"params": params}, clip[None, :16000]
    )
    for our_logits, our_features, logit, maps in zip(*ours, logits, features, strict=True):
        np.testing.assert_allclose(our_logits, logit.numpy()[:, 0], atol=1e-5)
        assert len(our_features) == len(maps) == 5
        for a, b in zip(our_features, maps, strict=True):
            np.testing.assert_allclose(a, b.numpy().transpose(0, 2, 3, 1), atol=1e-5)
