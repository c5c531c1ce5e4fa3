"""`torch.hub` loads an export where only torch, safetensors and numpy are installed."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.export.torch import alone
from uniwav_jax.export.torch import uniwav_model

# The second model is not made of the first one's modules, and options reach `load`.
TWO = """
import torch
models = [torch.hub.load(path, "uniwav", source="local", dtype=torch.float64)
          for path in ("exported", "asr")]
for model in models:
    print(model.c["task"], model.encoder.mask_vector.dtype)
print(type(models[0]) is type(models[1]))
"""
MORE = """
import numpy
audio = torch.tensor(numpy.load("audio.npy"))
numpy.save("states.npy", model(audio).hidden_states)
"""


def test_lines_of_the_model_card_and_the_documentation(exported, speech, tmp_path):
    """And two exports in one process; importing torch takes seconds, so there is one for all."""
    folder = exported("pretrain") / "export"
    (tmp_path / "exported").symlink_to(folder)
    (tmp_path / "asr").symlink_to(exported("asr") / "export")
    np.save(tmp_path / "audio.npy", speech[0])
    card = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    card = card.replace("FOLDER", str(folder)) + MORE
    in_readme, on_page, _ = alone.documented()
    on_page += "print(output.hidden_states.shape)"
    *shown, two = alone.run((card, in_readme, on_page, TWO), tmp_path)
    for printed in shown:
        assert printed.startswith("torch.Size([5, 1, 50, 160])")
    assert two.splitlines() == ["pretrain torch.float64", "asr torch.float64", "False"]
    ours = uniwav_model.load(str(folder))(torch.tensor(speech[0])).hidden_states.numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "states.npy"), ours)
