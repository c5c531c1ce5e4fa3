"""A task defined outside the package trains, evaluates, samples, saves, resumes and exports."""

import math
import shutil

import numpy as np
import pytest
import soundfile

from tests.end_to_end.conftest import Program, assert_same, read_metrics
from uniwav_jax.checkpoint import reader
from uniwav_jax.export import write
from uniwav_jax.models import masking, uniwav

SETTINGS = {
    "task": "tests.tasks.loudness:TASK",
    "train__steps": 8,
    "checkpoint__every": 4,
    "evaluate__every": 4,
    "evaluate__batches": 0,
    "evaluate__sample_every": 8,
    "optim__lr": 0.05,
}


@pytest.fixture(scope="module")
def labelled(small_corpus):
    """A manifest of the small corpus with a column "loudness", in decibels."""
    header, *lines = (small_corpus / "manifest.tsv").read_text().splitlines()
    for number, line in enumerate(lines):
        audio, _ = soundfile.read(small_corpus / line.split("\t")[0])
        lines[number] = f"{line}\t{20 * math.log10(audio.std()):.3f}"
    path = small_corpus / "labelled.tsv"
    path.write_text("\n".join([f"{header}\tloudness", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def run(labelled, undisturbed, tmp_path_factory):
    """A program, its workdir after eight updates, its settings and its output."""
    workdir, program = tmp_path_factory.mktemp("loudness"), Program(labelled.parent)
    data = {"data__manifest": labelled, "data__eval_manifest": labelled}
    settings = SETTINGS | data | {"init_from": undisturbed}
    return program, workdir, settings, program.run(workdir, **settings)


def test_it_trains_evaluates_and_samples(run):
    _, workdir, _, output = run
    assert "new:  params/loudness/kernel" in output and "left: params/decoder" in output
    lines = read_metrics(workdir)
    evaluated = [line for line in lines if "eval_loss" in line]
    losses = [line["eval_loss"] for line in evaluated]
    assert losses[-1] < losses[0] and losses[-1] < 400  # the loss of an output of 0 is about 900
    assert evaluated[-1]["eval_clips"] == 12
    table = (workdir / "loudness" / "step_0000008.tsv").read_text().splitlines()
    assert len(table) == 12 and all(float(line.split("\t")[1]) < 0 for line in table)
    assert (workdir / "samples" / "step_0000008" / "clip0_real.wav").exists()


def test_it_resumes_exactly(run, tmp_path):
    program, workdir, settings, _ = run
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    shutil.rmtree(again / "checkpoints" / "8")
    assert "resuming at step 4" in program.run(again, **settings)
    assert_same(again, workdir, step=8)


def test_it_exports(run, labelled, tmp_path):
    """The PyTorch model has the head as `linear.loudness`, with the averaged weights."""
    torch_side = pytest.importorskip("uniwav_jax.export.torch.uniwav_model", reason="needs torch")
    import torch

    checkpoint = reader.open(run[1])
    write.export(str(run[1]), str(tmp_path / "export"))
    model = torch_side.load(str(tmp_path / "export"))
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 40, checkpoint.config.features.mel_bands)).astype(np.float32)
    arrays = checkpoint.arrays("params/encoder", "ema/loudness")
    mask = masking.frame_mask(np.array([40]), 40)
    states = uniwav.encoder_module(write.exact(checkpoint.config)).apply(
        {"params": arrays["params"]["encoder"]}, x, mask
    )
    head = arrays["ema"]["loudness"]
    ours = states.final @ head["kernel"] + head["bias"]
    theirs = model.linear["loudness"](model.encoder(torch.tensor(x), torch.tensor(mask)).final)
    np.testing.assert_allclose(theirs.detach().numpy(), ours, rtol=1e-4, atol=1e-4)
