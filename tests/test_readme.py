"""The README's commands are run, and what it names exists."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.conftest import FAST_COMPILE
from uniwav_jax.config import default_config

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
ONE_DEVICE = {**os.environ, "XLA_FLAGS": FAST_COMPILE}
# Runs its arguments, then prints the peak resident memory of the largest process among them in KiB.
# A process of its own: Linux counts what the forking process held, here all of pytest's memory.
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print("peak KiB:", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
PAGES = [REPOSITORY / "README.md", REPOSITORY / "launch" / "README.md"]


def commands(text: str) -> list[str]:
    """Lines of all bash blocks, continued lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_names_exist(page):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), f"dead link {link}"
    for name in re.findall(r"(?:tools|configs|launch|tests)/\w+\.(?:py|sh|sbatch)", text):
        assert (REPOSITORY / name).exists() or name == "configs/X.py", name
    for key in re.findall(r"--config\.([\w.]+)=", text):
        node = default_config()
        for part in key.split(".") if key != "any.field" else ():
            assert part in node, f"--config.{key} is no field"
            node = node[part]
    known = default_config().to_dict()
    for group, field in re.findall(r"`(?:config\.)?(\w+)\.(\w+)[`=]", text):
        if group in known:
            assert field in known[group], f"{group}.{field} is no field"


def test_own_data_block(small_corpus, tmp_path):
    """As it stands there, on a folder of real clips; only the run itself is made short."""
    text = (REPOSITORY / "README.md").read_text()
    block = re.search(r"<!-- tests run this block.*?```bash\n(.*?)```", text, flags=re.S)[0]
    shutil.copytree(small_corpus, tmp_path / "my_audio", ignore=shutil.ignore_patterns("*.tsv"))
    for name in ("tools", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    environment = {
        **os.environ,
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for command in commands(block):
        if "uniwav_jax.main" in command:
            command += " --config.train.steps=2"
        done = subprocess.run(
            shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    run = tmp_path / "runs" / "mine"
    assert (run / "checkpoints" / "2" / "commit_success.txt").exists()
    assert len(list((run / "samples").glob("*/clip0_*.wav"))) == 3
    assert "eval_loss" in (run / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_quickstart_on_own_folder_and_again(small_corpus, tmp_path):
    """The first command of the README, shortened; the second call continues."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests do not run in a virtual environment; use bash tests/run.sh")
    environment = {**ONE_DEVICE, "UNIWAV_VENV": sys.prefix, "UNIWAV_DATA": str(tmp_path / "data")}
    for steps, words in ((2, "finished 2 steps"), (4, "resuming at step 2 of 4")):
        command = ["bash", "launch/quickstart.sh", str(small_corpus), "--steps", str(steps)]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *command, "--workdir", str(tmp_path / "run")],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert words in done.stdout and "What to do next" in done.stdout
        peak = int(re.search(r"peak KiB: (\d+)", done.stdout)[1])
        assert 2**18 < peak < 4 * 2**20
        assert "packed is up to date" not in done.stdout
        next((tmp_path / "data").glob("*/manifest.tsv")).touch()  # so the ArrayRecord is outdated
    assert (tmp_path / "run" / "checkpoints" / "4").exists()
