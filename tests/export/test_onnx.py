"""ONNX of encoder and CTC head, for rows and lengths other than those of the example."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.export.conftest import make
from uniwav_jax.export import onnx, write
from uniwav_jax.export.torch import uniwav_model

SMALL = {
    "model__encoder__layers": 2,
    "model__encoder__width": 32,
    "model__encoder__heads": 2,
    "model__encoder__ffn": 64,
    "model__encoder__position_convolutions": 1,
    "distillation__top_layers": 2,
}


def test_graphs_give_the_models_numbers(speech, tmp_path):
    pytest.importorskip("onnxscript", reason="writes ONNX; see tests/requirements-oracles.txt")
    runtime = pytest.importorskip("onnxruntime", reason="see tests/requirements-oracles.txt")
    folder, names = tmp_path / "export", ("encoder", "ctc")
    write.export(make(tmp_path, task="asr", **SMALL), str(folder))
    assert tuple(path.stem for path in onnx.write(str(folder))) == names
    model = uniwav_model.load(str(folder))  # the new files are under SHA256SUMS
    for rows in (3, 1):  # other rows and lengths than those of the example
        output = model(torch.tensor(speech[0][-rows:]), torch.tensor(speech[1][-rows:]))
        mask = output.frame_mask.numpy()
        feeds = {"features": output.features.numpy(), "frames": mask.sum(-1)}
        wanted = {"encoder": output.hidden_states, "ctc": model.logits(output.encoded)[None]}
        for name in names:
            session = runtime.InferenceSession(str(folder / f"{name}.onnx"))
            found = session.run(None, feeds)[0].reshape(wanted[name].shape)
            theirs = wanted[name].numpy()
            apart = np.abs(found - theirs)[:, mask].max() / np.abs(theirs[:, mask]).max()
            assert apart < 1e-4, (name, apart)
