"""Representations of long audio agree with the PyTorch model's `extract`."""

import numpy as np
import pytest

import uniwav_jax
from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax.errors import UserError
from uniwav_jax.export import write
from uniwav_jax.inference import representations

CHOICES = ((0, 2), "sum", "codes", "teacher_codes")


@pytest.mark.parametrize("codec", ["", "small"])
def test_representations_equal_those_of_pytorch(codec, clip, tmp_path):
    model_lib = pytest.importorskip("uniwav_jax.export.torch.uniwav_model", reason="needs torch")
    import torch

    # Representations are computed in float32, whatever the compute dtype of training is.
    path = make(tmp_path, codec=codec, model__compute_dtype="bfloat16", **SMALL)
    model, exported = uniwav_jax.load(path), {}
    for encoder in ("student", "teacher"):
        write.export(path, str(tmp_path / encoder), encoder=encoder)
        exported[encoder] = model_lib.load(str(tmp_path / encoder))
    for layers in CHOICES:
        theirs_of = exported["teacher" if layers == "teacher_codes" else "student"].extract
        for length in (len(clip), 12345):
            ours = model.features(clip[:length], layers=layers, window=2.0)
            chosen = list(layers) if isinstance(layers, tuple) else layers
            theirs = theirs_of(torch.tensor(clip[:length]), chosen, window=2.0).numpy()
            assert ours.shape == theirs.shape and len(theirs) == -(-length // 320)
            if "codes" in layers:
                assert (ours != theirs).mean() < 0.01  # rounding decides ties
            else:
                assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_choices_of_layers():
    assert representations.choice("0,6,12") == representations.choice([0, 6, 12]) == (0, 6, 12)
    assert representations.choice(3) == (3,) and representations.choice("sum") == "sum"
    for wrong in ("last", "1,x", ""):
        with pytest.raises(UserError, match="give numbers"):
            representations.choice(wrong)
