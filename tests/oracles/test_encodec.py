"""Parity with EnCodec in `encodec` and `transformers`, with random weights on real speech."""

import json
import sys
import types

import jax
import numpy as np
import pytest

from uniwav_jax.codec import files, importers
from uniwav_jax.codec.network import Codec
from uniwav_jax.errors import UserError
from uniwav_jax.models import quantizer

HOW = "needs tests/requirements-oracles.txt and encodec 0.1.1"
torch = pytest.importorskip("torch", reason=HOW)
transformers = pytest.importorskip("transformers", reason=HOW)
try:  # encodec imports torchaudio for reading files, which is not needed here
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    import encodec
    from encodec.modules import SEANetDecoder, SEANetEncoder
    from encodec.quantization import ResidualVectorQuantizer
except ImportError:
    pytest.skip(HOW, allow_module_level=True)
finally:
    del sys.modules["torchaudio"]

BOUND = 1e-4  # relative to the largest value, float32


def relative(ours, theirs):
    assert ours.shape == theirs.shape
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def close(config, params, audio, z, sound):
    """Check that our latents of `audio` are `z`, and that our decoding of `z` is `sound`."""
    model, variables = Codec(config), {"params": params["network"]}
    apply = jax.jit(model.apply, static_argnames="method")
    assert relative(apply(variables, audio, method="encode"), z) < BOUND
    assert relative(apply(variables, z, method="decode"), sound) < BOUND


def torch_state(parts):
    """State dict of an EncodecModel with these parts."""
    return {
        f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()
    }


def scale_gains(*modules):
    """Scale the gains of weight norm, because folding its initial gains changes nothing."""
    for module in modules:
        for name, value in module.named_parameters():
            if name.endswith(("weight_g", "original0")):
                value.data.mul_(0.5 + torch.rand_like(value))


def numpy_state(state):
    return {name: value.numpy() for name, value in state.items()}


@pytest.mark.parametrize("lstm", [0, 2])
@pytest.mark.parametrize("true_skip", [False, True])
@pytest.mark.parametrize("padding", ["reflect", "constant"])
@pytest.mark.parametrize("causal", [False, True])
def test_encodec_variants(clip, causal, padding, true_skip, lstm):
    torch.manual_seed(0)
    # Each kind of norm occurs with each value of every other setting.
    odd = (causal + (padding == "constant") + true_skip + (lstm > 0)) % 2
    norm = "none" if odd else "weight_norm"
    settings = {"n_filters": 8, "dimension": 16, "norm": norm, "n_residual_layers": 1 + (not lstm)}
    settings |= {"causal": causal, "pad_mode": padding, "true_skip": true_skip, "lstm": lstm}
    parts = {"encoder": SEANetEncoder(**settings), "decoder": SEANetDecoder(**settings)}
    scale_gains(*parts.values())
    stated = {"sample_rate": 16000, "causal": causal, "padding": padding}
    config, params = importers.convert(numpy_state(torch_state(parts)), stated)
    assert (config.true_skip, config.lstm, config.hop) == (true_skip, lstm, 320)
    audio = np.stack([clip[8000:16077], clip[20000:28077]])
    with torch.no_grad():
        z = parts["encoder"](torch.from_numpy(audio)[:, None])
        sound = parts["decoder"](z)
    close(config, params, audio, z.numpy().transpose(0, 2, 1), sound.numpy()[:, 0])


def test_encodec_checkpoint(clip, tmp_path):
    """The whole 24 kHz model with its quantiser goes through a .th file and our codec folder."""
    torch.manual_seed(0)
    model = encodec.EncodecModel.encodec_model_24khz(pretrained=False).eval()
    for layer in model.quantizer.vq.layers:  # codebooks are zero in a new model
        layer._codebook.embed.normal_(std=3.0)
    torch.save(model.state_dict(), tmp_path / "encodec_24khz.th")
    config, params = importers.load(str(tmp_path / "encodec_24khz.th"))
    assert (config.sample_rate, config.hop, config.causal) == (24000, 320, True)
    assert (config.filters, config.dimension, config.codebooks) == (32, 128, 32)
    files.save(tmp_path / "codec", config, params, info={})
    config, params = files.load(tmp_path / "codec")
    audio = torch.from_numpy(clip[None])
    with torch.no_grad():
        z = model.encoder(audio[:, None])
        sound = model.decoder(z)
        codes = model.quantizer.vq.encode(z, n_q=32)
        quantised = model.quantizer.vq.decode(codes)
    z = z.numpy().transpose(0, 2, 1)
    close(config, params, clip[None], z, sound.numpy()[:, 0])
    ours = np.asarray(quantizer.encode(params["codebooks"], z))
    assert (ours == codes.numpy()).mean() > 0.999  # rounding decides ties
    decoded = quantizer.decode(params["codebooks"], codes.numpy())
    assert relative(decoded, quantised.numpy().transpose(0, 2, 1)) < BOUND


@pytest.mark.parametrize(
    ("causal", "padding", "shortcut"), [(True, "reflect", True), (False, "constant", False)]
)
def test_transformers_folder(clip, tmp_path, causal, padding, shortcut):
    """transformers uses PyTorch's new format of weight norm; `encodec` above uses the old one."""
    torch.manual_seed(0)
    settings = transformers.EncodecConfig(
        sampling_rate=16000,
        num_filters=8,
        hidden_size=16,
        codebook_dim=16,
        codebook_size=32,
        target_bandwidths=[1.0],
        num_residual_layers=2,
        use_causal_conv=causal,
        pad_mode=padding,
        use_conv_shortcut=shortcut,
    )
    model = transformers.EncodecModel(settings).eval()
    scale_gains(model)
    model.save_pretrained(tmp_path / "hf")
    config, params = importers.load(str(tmp_path / "hf"))
    assert (config.causal, config.padding, config.true_skip) == (causal, padding, not shortcut)
    assert (config.sample_rate, config.residual_layers) == (16000, 2)
    assert params["codebooks"].shape == (len(model.quantizer.layers), 32, 16)
    with torch.no_grad():
        z = model.encoder(torch.from_numpy(clip)[None, None])
        sound = model.decoder(z)
    close(config, params, clip[None], z.numpy().transpose(0, 2, 1), sound.numpy()[:, 0])

    description = json.loads((tmp_path / "hf" / "config.json").read_text())
    for change, message in (
        ({"norm_type": "time_group_norm"}, "time_group_norm"),
        ({"normalize": True}, "loudness"),
        ({"model_type": "dac"}, "'dac'"),
        ({"num_filters": 64}, "filters=64"),
    ):
        (tmp_path / "hf" / "config.json").write_text(json.dumps({**description, **change}))
        with pytest.raises(UserError, match=message):
            importers.load(str(tmp_path / "hf"))


AUDIOCRAFT = """
sample_rate: 16000
channels: 1
encodec: {autoencoder: seanet, quantizer: rvq, sample_rate: '${sample_rate}', causal: false,
  renormalize: false}
seanet: {dimension: 128, channels: '${channels}', causal: '${encodec.causal}', n_filters: 16,
  n_residual_layers: 1, ratios: [8, 5, 4, 2], activation: ELU, norm: weight_norm, kernel_size: 7,
  residual_kernel_size: 3, last_kernel_size: 7, dilation_base: 2, pad_mode: constant,
  true_skip: true, compress: 2, lstm: 2, disable_norm_outer_blocks: 0, encoder: {},
  decoder: {trim_right_ratio: 1.0, final_activation: null, final_activation_params: null}}
"""


def test_audiocraft_checkpoint(clip, tmp_path):
    """The 16 kHz, 50 Hz variant (audiogen): not causal, zero padding, identity shortcut."""
    torch.manual_seed(0)
    settings = {"n_filters": 16, "pad_mode": "constant", "true_skip": True, "norm": "weight_norm"}
    parts = {"encoder": SEANetEncoder(**settings), "decoder": SEANetDecoder(**settings)}
    parts["quantizer"] = ResidualVectorQuantizer(dimension=128, n_q=4, bins=64)
    package = {
        "best_state": torch_state(parts),
        "xp.cfg": AUDIOCRAFT,
        "version": "1",
        "exported": True,
    }
    torch.save(package, tmp_path / "state_dict.bin")
    config, params = importers.load(str(tmp_path / "state_dict.bin"))
    assert (config.causal, config.padding, config.true_skip) == (False, "constant", True)
    assert (config.sample_rate, config.hop, config.codebooks) == (16000, 320, 4)
    with torch.no_grad():
        z = parts["encoder"](torch.from_numpy(clip)[None, None])
        sound = parts["decoder"](z)
    close(config, params, clip[None], z.numpy().transpose(0, 2, 1), sound.numpy()[:, 0])

    for change, message in (
        (("weight_norm", "time_group_norm"), "time_group_norm"),
        (("renormalize: false", "renormalize: true"), "loudness"),
        (("encoder: {}", "encoder: {n_filters: 3}"), "settings of its own"),
        (("seanet: {", "other: {"), "sections seanet and encodec"),
    ):
        torch.save({**package, "xp.cfg": AUDIOCRAFT.replace(*change)}, tmp_path / "other.bin")
        with pytest.raises(UserError, match=message):
            importers.load(str(tmp_path / "other.bin"))


def test_pickles_run_no_code(tmp_path):
    """A checkpoint that would run code when unpickled is rejected, and the code does not run."""

    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"encoder": Malicious()}, tmp_path / "malicious.th")
    with pytest.raises(UserError, match="cannot be read as plain tensors"):
        importers.load(str(tmp_path / "malicious.th"))
    assert not (tmp_path / "ran").exists()
    torch.save({"pretrained": "//pretrained/x"}, tmp_path / "pointer.th")
    with pytest.raises(UserError, match="only names another model"):
        importers.load(str(tmp_path / "pointer.th"))
    torch.save([1], tmp_path / "list.th")
    with pytest.raises(UserError, match="is a list"):
        importers.load(str(tmp_path / "list.th"))
