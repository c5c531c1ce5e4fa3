"""An export agrees with its checkpoint in every layer and end to end, on real speech."""

import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.export.conftest import make
from uniwav_jax.export import check, write
from uniwav_jax.export.torch import uniwav_model

SHORT = {"flow__sample_steps": 2}
# Presets as they are, but for the sizes: two layers of each kind are compared, of small width.
CUT = {"distillation__top_layers": 2, "distillation__codewords": 32, **SHORT}
for part in ("encoder", "decoder"):
    CUT |= {
        f"model__{part}__{name}": n for name, n in (("layers", 2), ("width", 128), ("ffn", 256))
    }
    CUT[f"model__{part}__heads"] = 2
MODELS = {
    "tiny": {"preset": "tiny"},
    "small": {"preset": "small", **CUT},
    "base": {"preset": "base", **CUT},
    "large": {"preset": "large", **CUT},
    "post-norm, ALiBi, context, Euler": {
        "model__encoder__norm": "post",
        "model__decoder__positions": "alibi",
        "flow__context": True,
        "flow__solver": "euler",
        "distillation__prediction": "dinosr",
    },
    "recognition": {"task": "asr"},
    "recognition from all layers": {"task": "asr", "asr__layers": "mix"},
    "codec": {"codec": "seanet", **SHORT},
    "causal codec": {"codec": "causal", **SHORT},
    "lyra": {"codec": "lyra", **SHORT},
}


@pytest.mark.parametrize("name", MODELS)
def test_same_numbers(name, speech, tmp_path):
    path = make(tmp_path, **MODELS[name])
    write.export(path, str(tmp_path / "export"))
    rows = check.compare(path, str(tmp_path / "export"), *speech)
    assert len(rows) > 8
    for what, apart, bound in rows:
        assert apart <= bound, f"{what}: {apart}"


def test_the_comparison_can_fail(speech, tmp_path):
    """A model of other weights is far away."""
    write.export(make(tmp_path), str(tmp_path / "export"))
    models = [uniwav_model.load(str(tmp_path / "export")) for _ in range(2)]
    models[0].encoder.layers[0].down.bias[0] += 1.0
    output, true = (model(*map(torch.tensor, speech)) for model in models)
    difference = check.apart(output.encoded.final, true.encoded.final.numpy(), true.frame_mask)
    assert difference > 10 * check.BOUNDS["end"]


def test_padding_does_not_change_real_frames(speech, tmp_path):
    write.export(make(tmp_path), str(tmp_path / "export"))
    model, (audio, samples) = uniwav_model.load(str(tmp_path / "export")), speech
    together = model(torch.tensor(audio), torch.tensor(samples))
    for row, count in enumerate(samples):
        alone = model(torch.tensor(audio[row : row + 1, :count])).hidden_states[:, 0]
        there = together.hidden_states[:, row, : alone.shape[1]]
        assert (alone - there).abs().max() < 1e-4 * alone.abs().max()


def test_bfloat16_is_close_to_float32(speech, tmp_path):
    """The bound is that of docs/pytorch.md: 3 % of the largest value."""
    write.export(make(tmp_path), str(tmp_path / "export"))
    exact, short = (
        uniwav_model.load(str(tmp_path / "export"), dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    arguments = list(map(torch.tensor, speech))
    ours, theirs = exact(*arguments).encoded.final, short(*arguments).encoded.final
    assert theirs.dtype == torch.bfloat16
    mask = exact(*arguments).frame_mask
    assert check.apart(theirs.float(), ours.numpy(), mask) < 0.03


def test_teacher_and_trained_weights(speech, tmp_path):
    path = make(tmp_path)
    for number, weights in enumerate(({"encoder": "teacher"}, {"decoder": "trained"})):
        folder = str(tmp_path / str(number))
        write.export(path, folder, **weights)
        for what, apart, bound in check.compare(path, folder, *speech):
            assert apart <= bound, f"{what}: {apart}"
    finals = [
        uniwav_model.load(str(tmp_path / str(n)))(torch.tensor(speech[0])).encoded.final
        for n in (0, 1)
    ]
    assert (finals[0] - finals[1]).abs().max() > 0.01


def test_features_are_decoded_to_similar_audio(speech, tmp_path):
    """Griffin-Lim reconstructs the input from its features; a codec's decoder gives valid audio."""
    for kind in ("", "seanet"):
        folder = tmp_path / f"of_{kind}"
        folder.mkdir()
        write.export(make(folder, codec=kind), str(folder / "export"))
        model = uniwav_model.load(str(folder / "export"))
        output = model(torch.tensor(speech[0][:1]))
        audio = model.features.decode(output.features)
        assert audio.shape == (1, 48000) and audio.abs().max() <= 1.0
        if not kind:  # the codec has random weights
            again = model(audio).features
            assert (again - output.features).abs().mean() < 0.2 * output.features.abs().mean()
