"""ONNX of encoder and CTC head, for rows and lengths other than those of the example."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.export.conftest import SMALL, make
from uniwav_jax.export import onnx, write
from uniwav_jax.export.torch import uniwav_model


def test_graphs_give_the_models_numbers(speech, tmp_path):
    pytest.importorskip("onnxscript", reason="writes ONNX; see tests/requirements-oracles.txt")
    runtime = pytest.importorskip("onnxruntime", reason="see tests/requirements-oracles.txt")
    folder, names = tmp_path / "export", ("encoder", "ctc", "codec_encoder", "codec_decoder")
    write.export(make(tmp_path, task="asr", codec="mdct", **SMALL), str(folder))
    assert tuple(path.stem for path in onnx.write(str(folder))) == names
    model = uniwav_model.load(str(folder))  # the new files are under SHA256SUMS
    for rows in (3, 1):  # other rows and lengths than those of the example
        output = model(torch.tensor(speech[0][-rows:]), torch.tensor(speech[1][-rows:]))
        mask = output.frame_mask.numpy()
        feeds = {"features": output.features.numpy(), "frames": mask.sum(-1)}
        audio = np.pad(speech[0][-rows:], ((0, 0), (0, -speech[0].shape[1] % 320)))
        sound = audio.reshape(rows, -1, 320)
        feeds["audio"] = sound
        with torch.inference_mode():
            features = model.features.encode(torch.tensor(sound).flatten(1))
            wave = model.features.decode(output.features)
        wanted = {
            "encoder": output.hidden_states.numpy()[:, mask],
            "ctc": model.logits(output.encoded).detach().numpy()[mask],
            "codec_encoder": features.numpy(),
            "codec_decoder": wave.numpy(),
        }
        for name in names:
            session = runtime.InferenceSession(str(folder / f"{name}.onnx"))
            given = {one.name: feeds[one.name] for one in session.get_inputs()}
            found = session.run(None, given)[0]
            if name in ("encoder", "ctc"):
                found = found[:, mask] if name == "encoder" else found[mask]
            apart = np.abs(found - wanted[name]).max() / np.abs(wanted[name]).max()
            assert apart < 1e-4, (name, apart)


@pytest.mark.parametrize("levels", [(), (4, 2, 2)], ids=["vector", "finite scalar"])
def test_tokens(levels, speech, tmp_path):
    pytest.importorskip("onnxscript", reason="writes ONNX; see tests/requirements-oracles.txt")
    runtime = pytest.importorskip("onnxruntime", reason="see tests/requirements-oracles.txt")
    settings = {"task": "tokenizer", "init_from": "elsewhere", "tokenizer__layer": 1}
    settings |= {"tokenizer__books": 2, "tokenizer__codewords": 16, "tokenizer__levels": levels}
    folder = tmp_path / "export"
    write.export(make(tmp_path, **SMALL, **settings), str(folder))
    assert {path.stem for path in onnx.write(str(folder))} == {"encoder", "tokens"}
    model = uniwav_model.load(str(folder))
    audio, samples = map(torch.tensor, speech)
    output = model(audio, samples)
    mask = output.frame_mask.numpy()
    feeds = {"features": output.features.numpy(), "frames": mask.sum(-1)}
    session = runtime.InferenceSession(str(folder / "tokens.onnx"))
    codes = session.run(None, feeds)[0] * mask[:, None]
    differ = codes != model.tokenize(audio, samples).numpy()
    assert differ.mean() <= 1e-3 and len(np.unique(codes)) > 3
