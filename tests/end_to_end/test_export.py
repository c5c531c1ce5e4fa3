"""A run is exported for PyTorch, read there without this package, and comes back to go on."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY, load_tool
from tests.end_to_end.conftest import read_metrics


def test_fine_tuning_starts_from_an_import(program, tmp_path):
    """Through PyTorch and back, and on with another task."""
    program.run(tmp_path / "pretrained", train__steps=2)
    write.export(str(tmp_path / "pretrained"), str(tmp_path / "export"))
    read.to_checkpoint(str(tmp_path / "export"), str(tmp_path / "imported"))
    losses = []
    for source in ("pretrained", "imported"):
        output = program.run(
            tmp_path / f"of_{source}", train__steps=1, init_from=tmp_path / source
        )
        assert "arrays loaded" in output
        losses.append(read_metrics(tmp_path / f"of_{source}")[0]["loss_decoder"])
    # The decoder is the running average in one and as trained in the other: two updates apart.
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


