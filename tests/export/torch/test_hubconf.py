"""`torch.hub` loads an export where only torch, safetensors and numpy are installed."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.export.torch import alone
from uniwav_jax.export.torch import uniwav_model


def test_lines_of_the_model_card_and_the_documentation(exported, speech, tmp_path):
    folder = exported("pretrain") / "export"
    (tmp_path / "exported").symlink_to(folder)
    np.save(tmp_path / "audio.npy", speech[0])
    card = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    card = card.replace("FOLDER", str(folder))
    card += """
import numpy
audio = torch.tensor(numpy.load("audio.npy"))
numpy.save("states.npy", model(audio).hidden_states)
"""
    in_readme, on_page, _ = alone.documented()
    on_page += "print(output.hidden_states.shape)"
    for printed in alone.run((card, in_readme, on_page), tmp_path):
        assert printed.startswith("torch.Size([5, 1, 50, 160])")
    ours = uniwav_model.load(str(folder))(torch.tensor(speech[0])).hidden_states.numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "states.npy"), ours)


def test_two_exports_in_one_process(exported, tmp_path):
    """The second is not made of the first one's modules, and options reach `load`."""
    first, second = (exported(task) / "export" for task in ("pretrain", "asr"))
    code = f"""
import torch
models = [torch.hub.load(path, "uniwav", source="local", dtype=torch.float64)
          for path in {[str(first), str(second)]}]
for model in models:
    print(model.c["task"], model.encoder.mask_vector.dtype)
print(type(models[0]) is type(models[1]))
"""
    (printed,) = alone.run([code], tmp_path)
    assert printed.splitlines() == ["pretrain torch.float64", "asr torch.float64", "False"]
