"""Imported encoders of DinoSR and SpidR agree with `spidr` from the waveform to all states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.export.dinosr_states import as_fairseq
from uniwav_jax import cli
from uniwav_jax.checkpoint import reader
from uniwav_jax.export import check, write
from uniwav_jax.features.batch import surface
from uniwav_jax.models import uniwav
from uniwav_jax.types import Batch

HOW = "needs tests/requirements-oracles.txt and spidr 0.2.0"
torch = pytest.importorskip("torch", reason=HOW)
spidr = pytest.importorskip("spidr.models", reason=HOW)
spidr_config = pytest.importorskip("spidr.config", reason=HOW)

WIDTH, CHANNELS = 64, 24


def build(cls):
    torch.manual_seed(0)
    layers = [(CHANNELS, k, s) for k, s in zip((10, 3, 3, 3, 3, 2, 2), (5, *[2] * 6), strict=True)]
    config = getattr(spidr_config, f"{cls}Config")(
        extractor_conv_layer_config=layers,
        encoder_embed_dim=WIDTH,
        encoder_num_layers=3,
        encoder_num_heads=4,
        encoder_ff_interm_features=96,
        codebook_size=16,
        num_codebooks=2,
    )
    model = getattr(spidr, cls)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def imported(path, audio, frames):
    """Features and states of the imported encoder, of which `frames` frames are real."""
    checkpoint = reader.open(path)
    arrays, features = checkpoint.arrays("params", "frozen"), checkpoint.features()
    padded = np.pad(audio, ((0, 0), features.context))
    batch = Batch(jnp.asarray(padded), jnp.full(len(audio), 320 * frames), jnp.zeros(2, bool))
    x, frames_B = surface(batch, arrays["frozen"]["features"], features)
    mask = jnp.arange(x.shape[1]) < frames_B[:, None]
    with jax.default_matmul_precision("highest"):
        encoded = uniwav.encoder_module(write.exact(checkpoint.config)).apply(
            {"params": arrays["params"]["encoder"]}, x, mask
        )
    return np.asarray(x), encoded


@pytest.mark.parametrize("form", ["safetensors", "pt", "fairseq"])
@pytest.mark.parametrize("cls", ["DinoSR", "SpidR"])
def test_same_numbers_from_the_waveform(cls, form, clip, tmp_path, capsys):
    model, audio = build(cls), np.stack([clip[:20000], clip[20000:40000]])
    state = model.state_dict()
    path = tmp_path / f"model.{'pt' if form == 'fairseq' else form}"
    if form == "safetensors":
        import safetensors.torch

        safetensors.torch.save_file(state, path)
    else:
        torch.save({"model": as_fairseq(state) if form == "fairseq" else state}, path)
    out = str(tmp_path / "imported")
    arguments = [str(path), "--out", out, "--heads", "4", "--gain", "1"]
    assert cli.main(["import", "model", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "--config.model.encoder.norm=post" in printed and f"init_from={out}" in printed
    with torch.inference_mode():
        theirs_x = model.feature_extractor(torch.tensor(audio))
        h = model.feature_projection(theirs_x)
        fed = model.student.get_intermediate_outputs(h)
        states = model.student.get_intermediate_outputs(h, before_residual=False)
    frames = theirs_x.shape[1]
    x, encoded = imported(out, audio, frames)

    def near(ours, theirs):
        np.testing.assert_allclose(ours[:, :frames], theirs.numpy(), rtol=1e-4, atol=1e-4)

    near(x, theirs_x)
    for layer in range(3):
        near(np.asarray(encoded.feed_forward[layer]), fed[layer])
        near(np.asarray(encoded.states[layer]), states[layer])


def test_an_import_is_exported(clip, tmp_path):
    """An imported encoder can be exported; its front end is part of the PyTorch model."""
    torch.save(build("SpidR").state_dict(), tmp_path / "model.pt")
    out, export = str(tmp_path / "imported"), str(tmp_path / "export")
    tool = cli.shortcut("import", "model")
    assert tool([str(tmp_path / "model.pt"), "--out", out, "--heads", "4"]) == 0
    write.export(out, export)
    audio = np.stack([clip[:20000], np.pad(clip[:9999], (0, 10001))])
    for what, apart, bound in check.compare(out, export, audio, np.array([20000, 9999])):
        assert apart <= bound, f"{what}: {apart}"
    assert cli.main(["import", "model", export, "--out", str(tmp_path / "again")]) == 0
