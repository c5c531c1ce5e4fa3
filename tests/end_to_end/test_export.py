"""A run is exported for PyTorch, read there without this package, and comes back to go on."""

import pytest

from tests.conftest import load_tool
from tests.end_to_end.conftest import read_metrics

pytest.importorskip("torch", reason="--check; see tests/requirements-oracles.txt")


def test_fine_tuning_starts_from_an_import(program, tmp_path):
    """Through PyTorch and back, and on with another task."""
    program.run(tmp_path / "pretrained", train__steps=2)
    export = ["--checkpoint", str(tmp_path / "pretrained"), "--out", str(tmp_path / "export")]
    assert load_tool("export_torch").main([*export, "--check"]) == 0
    back = [str(tmp_path / "export"), "--out", str(tmp_path / "imported")]
    assert load_tool("import_torch").main(back) == 0
    losses = []
    for source in ("pretrained", "imported"):
        output = program.run(tmp_path / f"of_{source}", train__steps=1, init_from=tmp_path / source)
        assert "arrays loaded" in output
        losses.append(read_metrics(tmp_path / f"of_{source}")[0]["loss_decoder"])
    # The decoder is the running average in one and as trained in the other: two updates apart.
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
