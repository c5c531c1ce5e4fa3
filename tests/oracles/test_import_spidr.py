"""Imported encoders of DinoSR and SpidR agree with `spidr` from the waveform to all states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax import cli
from uniwav_jax.checkpoint import reader
from uniwav_jax.errors import UserError
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


def as_fairseq(state):
    """The same tensors under fairseq's names, with separate query, key and value."""
    renamed, average = {}, {}
    for name, value in state.items():
        target, short = (average, name.removeprefix("teacher."))
        if not name.startswith("teacher."):
            target, short = renamed, name.replace("student.", "encoder.")
        for ours, theirs in (
            ("mask_embedding", "mask_emb"),
            ("feature_projection.layer_norm", "layer_norm"),
            ("feature_projection.projection", "post_extract_proj"),
            ("pos_conv_embed.convs.", "pos_conv."),
            ("feed_forward.intermediate_dense", "fc1"),
            ("feed_forward.output_dense", "fc2"),
            ("attention.proj", "self_attn.out_proj"),
        ):
            short = short.replace(ours, theirs)
        if "pos_conv." in short:
            head, kind = short.rsplit(".", 1)
            short = f"{head}.0.{kind}"
        if "conv_layers" in short:
            short = short.replace(".conv.weight", ".0.weight").replace(".layer_norm.", ".2.1.")
        elif "layers." in short and ".layer_norm." in short:
            short = short.replace(".layer_norm.", ".self_attn_layer_norm.")
        if "attention.qkv" in short:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                target[short.replace("attention.qkv", f"self_attn.{part}_proj")] = piece.clone()
                bias = short.replace("attention.qkv.weight", f"self_attn.{part}_proj.bias")
                target[bias] = torch.zeros(len(piece))
        elif not short.startswith(("heads", "codebooks", "current_step")):
            target[short] = value
    return {**renamed, "_ema": average}


def test_files_without_an_encoder_are_errors(tmp_path):
    state = build("DinoSR").state_dict()
    tool = cli.shortcut("import", "model")
    for name, changed, message in (
        ("empty", {}, "no feature_extractor"),
        (
            "less",
            {k: v for k, v in state.items() if k != "mask_embedding"},
            "mask_embedding is",
        ),
        ("more", {**state, "extra": torch.zeros(1)}, "tensor extra does not belong"),
    ):
        torch.save(changed, tmp_path / f"{name}.pt")
        with pytest.raises(UserError, match=message):
            tool([str(tmp_path / f"{name}.pt"), "--out", str(tmp_path / "out"), "--heads", "4"])
    (tmp_path / "harm.pt").write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")
    with pytest.raises(UserError, match="cannot be read as plain tensors"):
        tool([str(tmp_path / "harm.pt"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


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
