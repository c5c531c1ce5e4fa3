"""`python -m uniwav_jax.cli` is the console script: its status and its one line of an error."""

import subprocess
import sys


def test_a_mistake_is_one_line_with_status_2(tmp_path):
    command = [sys.executable, "-m", "uniwav_jax.cli", "data", "manifest", str(tmp_path / "none")]
    done = subprocess.run([*command, "--out", "m.tsv"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
