"""Pictures of samples: spectrograms."""

import numpy as np
from etils import epath

from uniwav_jax.train import pictures


def test_a_panel_for_each_sample(tmp_path):
    sizes = []
    for names in (("real",), ("real", "generated")):
        path = epath.Path(tmp_path / "clip.png")
        panels = {name: np.random.default_rng(0).normal(size=(50, 8)) for name in names}
        pictures.spectrogram_figure(panels, path, seconds=1.0)
        content = path.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        sizes.append(tuple(int.from_bytes(content[i : i + 4], "big") for i in (16, 20)))
    (width, one), (same, two) = sizes
    assert width == same and two == 2 * one
