"""An export agrees with its checkpoint in every layer and end to end, on real speech."""

import math

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.export.conftest import SPEECH, make
from uniwav_jax.export import check, write
from uniwav_jax.export.torch import uniwav_model

SHORT = {"flow__sample_steps": 2}
# A preset with dropout, which an export has not; presets of other sizes would be the same model.
CUT = {"distillation__top_layers": 2, "distillation__codewords": 32, **SHORT}
for part in ("encoder", "decoder"):
    CUT |= {
        f"model__{part}__{name}": n for name, n in (("layers", 2), ("width", 128), ("ffn", 256))
    }
    CUT[f"model__{part}__heads"] = 2
MODELS = {
    "tiny": {"preset": "tiny"},
    "base": {"preset": "base", **CUT},
    "post-norm, ALiBi, context, Euler": {
        "model__encoder__norm": "post",
        "model__decoder__positions": "alibi",
        "flow__context": True,
        "flow__solver": "euler",
        "distillation__prediction": "dinosr",
    },
    "recognition": {"task": "asr"},
    "recognition from all layers": {"task": "asr", "asr__layers": "mix"},
    "speech synthesis": SPEECH,
    "codec": {"codec": "seanet", **SHORT},
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


def test_the_comparison_can_fail(exported, speech):
    """A model of other weights is far away."""
    models = [uniwav_model.load(str(exported("pretrain") / "export")) for _ in range(2)]
    models[0].encoder.layers[0].down.bias[0] += 1.0
    output, true = (model(*map(torch.tensor, speech)) for model in models)
    difference = check.apart(output.encoded.final, true.encoded.final.numpy(), true.frame_mask)
    assert difference > 10 * check.BOUNDS["end"]


def test_teacher_and_trained_weights(exported, speech, tmp_path):
    path = str(exported("pretrain") / "run")
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


def test_report_counts_what_is_beyond_its_bound(exported, monkeypatch, capsys):
    rows = [("good", 1e-6, 1e-5), ("far", 2e-5, 1e-5), ("not a number", math.nan, 1.0)]
    given = []
    monkeypatch.setattr(check, "compare", lambda *arguments: given.append(arguments) or rows)
    run = str(exported("pretrain") / "run")
    assert check.report(run, "folder") == 2
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.endswith("FAILED") for line in lines] == [False, False, True, True]
    assert "2 of 3 rows exceed their bound" in printed.err
    ((path, folder, audio, samples),) = given
    assert (path, folder) == (run, "folder") and audio.shape == (3, 96000) and len(samples) == 3
    rows[:] = rows[:1]
    assert check.report(run, "folder") == 0 and not capsys.readouterr().err


def test_clips_are_cut_and_padded(clip, tmp_path):
    paths = [str(tmp_path / f"{name}.flac") for name in ("long", "short")]
    soundfile.write(paths[0], np.tile(clip, 2), 16000)
    soundfile.write(paths[1], clip[:8000], 16000)
    audio, samples = check.clips(paths, 16000)
    assert samples.tolist() == [96000, 8000] and audio.shape == (2, 96000)
    np.testing.assert_allclose(audio[1, :8000], clip[:8000], atol=1e-4)
    assert not audio[1, 8000:].any() and audio[0, 80000:].any()


def test_differences_are_relative_and_of_real_frames():
    ours = np.array([[[1.0], [-4.0], [100.0]]])
    theirs = torch.tensor([[[1.5], [-4.0], [0.0]]])
    mask = torch.tensor([[True, True, False]])
    assert check.apart(theirs, ours, mask) == 0.5 / 4
    assert check.apart(theirs[None], ours[None], mask) == 0.5 / 4  # layers first
    assert math.isnan(check.apart(theirs * math.nan, ours, mask))


def test_codewords_of_equal_cost_are_no_error():
    costs = np.array([[[[1.0, 1.0, 3.0], [2.0, 5.0, 2.5]]]])
    ours, mask = np.array([[[0, 0]]]), np.array([[True, True]])
    for theirs, cost, share in (([0, 0], 0, 0), ([1, 0], 0, 0.5), ([1, 2], 0.1, 1.0)):
        rows = check._codes("codes", np.array([[theirs]]), ours, costs, mask)
        assert [row[1] for row in rows] == pytest.approx([cost, share])
    rows = check._codes("codes", np.array([[[0, 1]]]), ours, costs, np.array([[True, False]]))
    assert [row[1] for row in rows] == [0, 0]
