"""A codec is trained, exported, and used on files."""

import json
import shutil
import sys

import numpy as np
import soundfile

from tests.end_to_end.conftest import REPOSITORY, read_metrics
from uniwav_jax import cli
from uniwav_jax.codec import files
from uniwav_jax.measures import signal

SMALL = {
    "codec.structure.filters": 4,
    "codec.structure.dimension": 16,
    "codec.structure.residual_layers": 1,
    "codec.discriminator_filters": 2,
    "codec.discriminator_windows": "(256,)",
    "train.log_every": 1,
    "train.steps": 6,
    "checkpoint.every": 4,
    "evaluate.samples": 2,
    "evaluate.batches": 2,
    "evaluate.every": 4,
    "evaluate.sample_every": 4,
}


def command(program, workdir):
    """The command that trains the recipe with a small network on the program's corpus."""
    manifest = program.corpus / "manifest.tsv"
    values = {**SMALL, "data.manifest": manifest, "data.eval_manifest": manifest}
    return [
        *(sys.executable, "-m", "uniwav_jax.main"),
        f"--config={REPOSITORY / 'configs' / 'codec_16khz_50hz.py'}:small",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in values.items()),
    ]


def test_train_export_use(program, tmp_path):
    for _ in range(2):
        shutil.rmtree(tmp_path / "run" / "checkpoints" / "6", ignore_errors=True)
        process = program.fork(command(program, tmp_path / "run"))
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    assert "resuming at step 4 of 6" in output
    lines = read_metrics(tmp_path / "run")
    measured = {name for line in lines for name in line}
    assert {"eval_loss_mel", "eval_mel_distance", "eval_mel_distance_clips"} <= measured
    assert "loss_discriminator" in measured
    for name in signal.PACKAGES:
        assert (f"eval_{name}" in measured) == (name not in signal.missing())
    samples = tmp_path / "run" / "samples" / "step_0000006"
    real, decoded = (soundfile.read(samples / f"clip0_{n}.wav")[0] for n in ("real", "decoded"))
    assert len(real) == len(decoded) == 8000
    assert (samples / "clip0.png").stat().st_size > 1000

    out = tmp_path / "codec"
    assert cli.main(["export", "--checkpoint", str(tmp_path / "run"), "--out", str(out)]) == 0
    config, _ = files.load(out)
    assert (config.filters, config.dimension, config.hop) == (4, 16, 320)
    assert json.loads((out / "codec.json").read_text())["info"]["trained_steps"] == 6
    # Commands decode the clip as evaluation did, to the precision of the float16 weights.
    soundfile.write(tmp_path / "real.wav", real, 16000)
    for step in (
        ["encode", str(tmp_path / "real.wav"), "--out", str(tmp_path)],
        ["decode", str(tmp_path / "real.npz"), "--out", str(tmp_path / "decoded")],
    ):
        assert cli.main([*step, "--codec", str(out)]) == 0
    again, _ = soundfile.read(tmp_path / "decoded" / "real.wav")
    assert np.abs(again - decoded).max() < 0.02 * max(np.abs(decoded).max(), 0.01)
