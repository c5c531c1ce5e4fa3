"""Representation after training: PNMI of an encoder pretrained shortly on latents.

`uniwav train --config=demo` runs in a process of its own, with the system's features and a given
number of updates; then `codewords.evaluate` measures all layers. The same on log-mel tells whether
the latents or the number of updates limit the result.
"""

import contextlib
import subprocess
import sys
import tempfile

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codewords
from uniwav_jax.evaluation.systems import MEL, System
from uniwav_jax.measures.signal import Mean

RECIPE = "demo"


def command(system: System, manifest: str, workdir: str, *, updates: int, seed: int) -> list[str]:
    """The words of the command that pretrains.

    Args:
        system: whose frames the encoder reads.
        manifest: of the training speech.
        workdir: folder of the run.
        updates: of the optimizer.
        seed: of weights, batches and masks.
    """
    settings = {
        "seed": seed,
        "data.manifest": manifest,
        "train.steps": updates,
        "checkpoint.every": updates,
        "evaluate.sample_every": 0,
    }
    if system.name != MEL:
        names = ("kind", "codec", "sample_rate", "hop")
        settings |= {f"features.{name}": getattr(system.config, name) for name in names}
    words = [f"--config.{name}={value}" for name, value in settings.items()]
    run = [sys.executable, "-m", "uniwav_jax.main", f"--config={RECIPE}", f"--workdir={workdir}"]
    return [*run, *words]


def measure(
    system: System,
    manifest: str,
    aligned_manifest: str,
    alignments: str,
    *,
    updates: int,
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, Mean]:
    """Pretrain an encoder and measure the PNMI of its best layer.

    Args:
        system: whose frames it reads.
        manifest: training speech of other speakers, to which codewords are fitted too.
        aligned_manifest: of the aligned clips.
        alignments: folder of their TextGrids.
        updates: of the optimizer.
        limit: largest number of clips of each manifest that are measured; None: all.
        seed: of weights, batches, masks and first codewords.

    Returns:
        "pnmi_encoder_other" and "pnmi_encoder_same", of the layer and kind of output ("states" or
        "feed_forward") whose PNMI is highest, with clusters of other speakers and of the same
        clips; without intervals, because the choice of runs matters more than that of clips.

    Raises:
        UserError: training failed; its output is printed.
    """
    with tempfile.TemporaryDirectory() as workdir:
        words = command(system, manifest, workdir, updates=updates, seed=seed)
        done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            raise UserError(f"{system.name}: pretraining failed with status {done.returncode}")
        options = {"fit_manifest": manifest, "limit": limit, "seed": seed}
        with contextlib.redirect_stdout(sys.stderr):
            tables = codewords.evaluate(workdir, aligned_manifest, alignments, **options)
    result = {}
    for name, part in (("other", tables["fit_manifest"]), ("same", tables)):
        layers = [layer for table in part["encoder"].values() for layer in table]
        best = max(layer["pnmi"] for layer in layers)
        result[f"pnmi_encoder_{name}"] = Mean(best, None, None, tables["clips"], tables["clips"])
    return result
