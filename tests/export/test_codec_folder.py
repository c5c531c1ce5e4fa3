"""A run of task codec becomes a codec folder with the averaged weights."""

import json

import jax
import numpy as np
import pytest

from tests.export.conftest import make_codec_run
from uniwav_jax.checkpoint import reader
from uniwav_jax.codec import files
from uniwav_jax.errors import UserError
from uniwav_jax.export import codec_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_codec_run(tmp_path_factory.mktemp("codec"), codebooks=2, codewords=16)


def test_the_averaged_weights_and_the_codewords(run):
    path, config, params = run
    structure, read = codec_folder.read(reader.open(path))
    assert structure == config.codec.structure
    jax.tree.map(np.testing.assert_array_equal, read, params)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_folder_has_them_in_the_type_that_is_asked_for(run, dtype, tmp_path):
    path, config, params = run
    out = str(tmp_path / "codec")
    options = {} if dtype == "float16" else {"dtype": dtype, "licence": "CC0-1.0"}
    assert codec_folder.export(path, out, **options) == 3
    structure, read = files.load(out)
    assert structure == config.codec.structure
    exact = jax.tree.map(lambda a: a.astype(dtype).astype(np.float32), params)
    jax.tree.map(np.testing.assert_array_equal, read, exact)
    info = json.loads((tmp_path / "codec" / "codec.json").read_text())["info"]
    assert info == {"trained_steps": 3, "licence": options.get("licence", "not stated")}
    with pytest.raises(UserError, match="exists; give a new folder"):
        codec_folder.export(path, out)


def test_other_runs_have_no_codec(exported):
    checkpoint = reader.open(exported("asr") / "run")
    with pytest.raises(UserError, match=r"checkpoints/7 is not a run of task codec"):
        codec_folder.read(checkpoint)
