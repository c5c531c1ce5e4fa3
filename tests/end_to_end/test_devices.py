"""The same numbers on 1 device, 8 devices and 2 processes of 4 devices."""

import jax
import numpy as np
import pytest

from tests.end_to_end.conftest import Program, read_metrics
from uniwav_jax.checkpoint import reader

SETTINGS = {"train__steps": 5, "checkpoint__every": 5}
DROPOUT = ("dropout", "attention_dropout", "layer_drop")


@pytest.fixture(scope="module")
def one_device(small_corpus, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one")
    Program(small_corpus).run(workdir, **SETTINGS)
    return workdir


def assert_agree(workdir, reference):
    ours, theirs = read_metrics(workdir), read_metrics(reference)
    assert len(ours) == len(theirs) == 5
    for name in ("loss", "loss_encoder", "loss_decoder", "target_perplexity"):
        np.testing.assert_allclose(
            [line[name] for line in ours], [line[name] for line in theirs], rtol=1e-5, err_msg=name
        )
    ours, theirs = (reader.open(str(w)).arrays("state") for w in (workdir, reference))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        ours["state"]["codebooks"],
        theirs["state"]["codebooks"],
    )


@pytest.mark.parametrize("mesh", [{}, {"mesh__fsdp": 2, "mesh__tensor": 2}])
def test_eight_devices(program, one_device, tmp_path, mesh):
    program.run(tmp_path, devices=8, **SETTINGS, **mesh)
    assert_agree(tmp_path, one_device)


@pytest.mark.parametrize(
    "mesh",
    [
        {"mesh__fsdp": 4, "mesh__slices": 2},  # each process a slice
        {"mesh__data": 1, "mesh__tensor": 4, "mesh__fsdp": -1},
    ],
)
def test_two_processes_of_four_devices(program, one_device, tmp_path, mesh):
    program.run_processes(tmp_path, processes=2, devices=4, **SETTINGS, **mesh)
    assert_agree(tmp_path, one_device)


def test_accumulation_and_reader_processes(program, tmp_path):
    # Microbatches draw dropout masks of their own.
    settings = {**SETTINGS, **{f"model__encoder__{name}": 0.0 for name in DROPOUT}}
    program.run(tmp_path / "one", **settings)
    program.run(tmp_path / "four", train__accumulate=4, data__workers=1, **settings)
    assert_agree(tmp_path / "four", tmp_path / "one")
