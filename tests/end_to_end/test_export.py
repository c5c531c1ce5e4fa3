"""A run is exported for PyTorch, imported again, and trained further."""

import numpy as np
import pytest

from tests.end_to_end.conftest import read_metrics
from uniwav_jax import cli

pytest.importorskip("torch", reason="--check; see tests/requirements-oracles.txt")


def test_fine_tuning_starts_from_an_import(program, undisturbed, tmp_path):
    """A checkpoint is exported and imported, and training continues from the import."""
    export = ["--checkpoint", str(undisturbed), "--out", str(tmp_path / "export")]
    assert cli.main(["export", *export, "--check"]) == 0
    back = [str(tmp_path / "export"), "--out", str(tmp_path / "imported")]
    assert cli.main(["import", "model", *back]) == 0
    output = program.run(tmp_path / "on", train__steps=1, init_from=tmp_path / "imported")
    # An export has no codebooks, so the heads that predict them are initialised; all other parts
    # are loaded.
    new = {line.split()[1] for line in output.splitlines() if line.startswith("  new:  params/")}
    assert "arrays loaded" in output and new == {"params/heads/bias", "params/heads/kernel"}
    assert "state/teacher: a copy of params/encoder" in output  # an export has one encoder
    assert np.isfinite(read_metrics(tmp_path / "on")[0]["loss"])
