"""Weights in one small file: what is kept, the same results, and what does not fit."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from tests.cli.test_tokens import make_run
from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax import api
from uniwav_jax.checkpoint import weights
from uniwav_jax.errors import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("weights") / "small"
    size = weights.save(run, str(out))
    assert size == (out / weights.WEIGHTS).stat().st_size
    return out


def test_results_are_those_of_the_run(run, folder, clip):
    ours, small = api.load(run), api.load(folder)
    assert small.step == ours.step and small.task == "tokenizer"
    tokens, others = ours.tokenize(clip), small.tokenize(clip)
    # The weights are rounded to float16, so the digest differs and nearly all codes are the same.
    assert others.model != tokens.model and (others.codes == tokens.codes).mean() > 0.95
    assert small.tokenize(clip).model == others.model
    assert small.detokenize(others).shape == clip.shape
    names = safetensors.numpy.load_file(folder / weights.WEIGHTS)
    exact = {name for name, value in names.items() if value.dtype == np.float32}
    assert exact == {name for name in names if name.startswith("features") or "counts" in name}
    assert {value.dtype.name for value in names.values()} == {"float16", "float32"}
    assert any(name.startswith("decoder") for name in names) and len(exact) == 4


def test_nothing_names_the_machine(run, folder):
    config = json.loads((folder / weights.DESCRIPTION).read_text())["config"]
    assert config["init_from"] == "pretrained" and config["data"]["manifest"] == ""


def test_a_pretraining_run(tmp_path):
    run = make(tmp_path, distillation__mfcc_until=1.0, **SMALL)
    weights.save(run, str(tmp_path / "out"))
    found = weights.load(str(tmp_path / "out"))
    assert {"encoder", "heads", "condition", "decoder"} == found.params.keys()
    assert found.structure is None and found.features.keys() == {"mean", "std"}


def test_what_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(UserError, match="exists; give a new folder"):
        weights.save(make_run(tmp_path), str(folder))
    document = json.loads((folder / weights.DESCRIPTION).read_text())
    tensors = safetensors.numpy.load_file(folder / weights.WEIGHTS)

    def refused(message, tensors=tensors, **changes):
        bad = tmp_path / "bad"
        bad.mkdir(exist_ok=True)
        (bad / weights.DESCRIPTION).write_text(json.dumps({**document, **changes}))
        safetensors.numpy.save_file(tensors, bad / weights.WEIGHTS)
        with pytest.raises(UserError, match=message):
            weights.load(str(bad))

    refused("schema 9 is not 1", schema=9)
    refused("needs codec 0000, but .* is ", codec="0000")
    less = {k: v for k, v in tensors.items() if not k.startswith("decoder")}
    refused(r"lacks decoder\.\S+ \(\d+ arrays in all\)", tensors=less)
    more = {**tensors, "tokens.kernel": np.zeros((3, 2), np.float32)}
    refused(r"tokens.kernel is \(3, 2\), expected \(32, 32\)", tensors=more)
    refused("has tokens.more, which", tensors={**tensors, "tokens.more": np.zeros(2, np.float32)})
    (tmp_path / "bad" / weights.WEIGHTS).write_bytes(b"no")
    with pytest.raises(UserError, match="is not a folder of weights, or is damaged"):
        weights.load(str(tmp_path / "bad"))


def test_differences_from_a_base(run, folder, tmp_path):
    """A part that is the same costs nothing, others a byte a number; the rounding is bounded."""
    base, out = tmp_path / "base", tmp_path / "tuned"
    tensors = safetensors.numpy.load_file(folder / weights.WEIGHTS)
    random = np.random.default_rng(0)
    moved = {
        name: value + 0.01 * random.normal(size=value.shape).astype(value.dtype)
        for name, value in tensors.items()
        if name.startswith("decoder") and value.dtype == np.float16
    }
    base.mkdir()
    safetensors.numpy.save_file({**tensors, **moved}, base / weights.WEIGHTS)
    (base / weights.DESCRIPTION).write_text((folder / weights.DESCRIPTION).read_text())
    whole = weights.save(run, str(tmp_path / "whole"))
    small = weights.save(run, str(out), base=str(base))
    stored = safetensors.numpy.load_file(out / weights.WEIGHTS)
    assert not any(name.startswith(("encoder", "books", "tokens")) for name in stored)
    assert small < 0.7 * whole
    found = weights.load(str(out))
    exact = weights.load(str(tmp_path / "whole"))
    assert jax.tree.structure(found.params) == jax.tree.structure(exact.params)
    flat = traverse_util.flatten_dict(exact.params, sep=".")
    for name, value in traverse_util.flatten_dict(found.params, sep=".").items():
        step = stored.get(f"{name}/step", np.zeros(1, np.float32))
        bound = 0.5 * step + 1e-3 * np.abs(flat[name])  # the other is rounded to float16
        assert (np.abs(value - flat[name]) <= bound).all(), name
        if value.ndim > 1 and f"{name}/step" in stored:
            assert step.size == value.size // max(value.shape[:-1]), name
    with pytest.raises(UserError, match="must lie in the same folder"):
        weights.save(run, str(tmp_path / "sub" / "tuned"), base=str(base))
    safetensors.numpy.save_file(tensors, base / weights.WEIGHTS)
    with pytest.raises(UserError, match=r"needs the weights \S+base of digest \w+"):
        weights.load(str(out))


def test_parts_that_are_left_out(run, tmp_path):
    weights.save(run, str(tmp_path / "small"), without=["decoder"])
    assert "decoder" not in weights.load(str(tmp_path / "small")).params
    with pytest.raises(UserError, match="has no part head to leave out"):
        weights.save(run, str(tmp_path / "other"), without=["head"])
