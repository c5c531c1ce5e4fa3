"""The commands of README.md and docs/ are run or checked, and the names on the pages exist.

Every block of bash or Python follows a comment `<!-- test: KIND -->`, where KIND is one of `KINDS`.
bash parses all its blocks, and the parser of each command checks its arguments (`tests.commands`).
Blocks of the kind "run" are executed in one folder, those of README.md and data.md first, then
those of the other pages. Training is made short by the settings `SHORT`.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest
import soundfile

from tests import commands
from tests.codec.random_codec import random_codec
from tests.conftest import FAST_COMPILE, REPOSITORY
from tests.end_to_end.conftest import SMALL
from tests.forked import Forked
from uniwav_jax import cli
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.config import default_config

KINDS = {
    "run": "executed here",
    "file": "Python that later blocks use: saved under the name that follows",
    "again": "runs the same program on the same kind of data as another, executed block",
    "elsewhere": "executed by tests/end_to_end/test_codec_features.py",
    "tour": "executed by tests/cli/test_tour.py",
    "torch": "executed by tests/export/torch, where this package is not installed",
    "slow": "the quickstart, executed below on a folder of recordings; it downloads packages",
    "network": "installs from the package registry, as tests/run.sh does",
    "hardware": "needs GPUs, TPUs, ssh or a cluster; tests/launch runs the scripts with stand-ins",
    "hours": "trains or compiles for minutes to hours; tests of the named programs run them small",
    "extra": "needs data or a program that the tests may lack; tests/cli and tests/data run it",
    "weights": "needs weights that we must not distribute; tests/oracles imports random ones",
    "template": "has placeholders",
}
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "launch" / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "benchmarks" / "results").glob("*/README.md")),
]
# Settings for training in this test: a smaller model and two updates.
SHORT = SMALL | {
    "train.steps": 2,
    "features.stats_seconds": 4.0,
    "data.buckets": "(3.0,)",
    "data.batch_seconds": 12.0,
    "evaluate.every": 2,
}
TEXTS = ("good morning", "go do you hear", "what do you mean by ring")
ONE_DEVICE = {**os.environ, "XLA_FLAGS": FAST_COMPILE}


class Block(NamedTuple):
    """A fenced block of a page; `kind` is "" without a comment before it."""

    page: pathlib.Path
    line: int
    language: str
    kind: str
    argument: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def blocks_of(page: pathlib.Path) -> list[Block]:
    text, found = page.read_text(), []
    pattern = r"(?:<!-- test: (\w+) ?([\w.]*) -->\n)?```(bash|python)\n(.*?)```"
    for match in re.finditer(pattern, text, flags=re.S):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[3], match[1] or "", match[2], match[4]))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [block for block in BLOCKS if block.kind in ("run", "file")]
# The pages whose blocks create the files that blocks of other pages use.
FIRST = [block for block in RUN if block.page.name in ("README.md", "data.md")]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_is_of_a_known_kind_and_parses(block):
    if "benchmarks" not in block.page.parts:  # their commands are those of measured runs
        assert block.kind in KINDS, f"write one of {', '.join(KINDS)} before the block"
    if block.language == "python":
        compile(block.text, str(block), "exec")
        return
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    if block.kind != "template":
        for line in commands.lines(block.text):
            commands.check(line)


@pytest.fixture(scope="module")
def place(small_corpus, tmp_path_factory) -> pathlib.Path:
    """A folder with recordings, texts, a codec, and the files that README and data.md create."""
    folder = tmp_path_factory.mktemp("reader")
    audio = folder / "my_audio"
    audio.mkdir()
    for number, clip in enumerate(sorted(small_corpus.glob("*.flac"))):
        name = f"clip{number}" if number else "first"
        shutil.copy(clip, audio / f"{name}.flac")
        (audio / f"{name}.txt").write_text(TEXTS[number % len(TEXTS)])
    structure = SEANetConfig(filters=4, dimension=16, lstm=0)
    files.save(folder / "codecs" / "mine", structure, random_codec(structure), info={})
    for block in FIRST:
        execute(block, folder)
    return folder


def execute(block: Block, folder: pathlib.Path) -> None:
    if block.kind == "file":
        (folder / block.argument).write_text(block.text)
    elif block.language == "python":
        with contextlib.chdir(folder):
            exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})
    else:
        for line in commands.lines(block.text):
            for variables, words in commands.split(line):
                run_command(variables, words, folder)


def run_command(variables: dict[str, str], words: list[str], folder: pathlib.Path) -> None:
    """Run training in a forked process, because its flags are global, and other commands here."""
    assert words[0] == "uniwav", f"only commands of uniwav are executed, not {words}"
    if words[1] != "train" and not variables:
        with contextlib.chdir(folder):
            assert cli.main(words[1:]) == 0, words
        return
    if words[1] == "train":
        given = {word.split("=")[0] for word in words}
        sampled = "--workdir=runs/mine" in words  # its samples are checked below
        values = SHORT | ({"evaluate.sample_every": 2} if sampled else {})
        settings = {f"--config.{name}": value for name, value in values.items()}
        words = words + [f"{k}={v}" for k, v in settings.items() if k not in given]
    if "PYTHONPATH" in variables:
        variables = {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}
    variables = {**variables, "XLA_FLAGS": FAST_COMPILE}
    process = Forked(uniwav, words[1:], str(folder), variables=variables)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, f"{words}\n{output}"


def uniwav(words: list[str], folder: str) -> None:
    """What `uniwav` does with these words in that folder; it runs in a forked process."""
    os.chdir(folder)
    # Python reads this variable when it starts, which is before the fork.
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv[1:] = words
    cli.script()


def test_readme_is_short_and_its_commands_work(place):
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150
    assert (place / "runs" / "demo" / "checkpoints" / "2" / "commit_success.txt").exists()
    assert (place / "exported" / "model.safetensors").exists()


@pytest.mark.parametrize("block", [block for block in RUN if block not in FIRST], ids=str)
def test_block_runs(block, place):
    execute(block, place)


def test_own_data(place):
    """The run of data.md has a checkpoint, samples and an evaluation."""
    run = place / "runs" / "mine"
    assert (run / "checkpoints" / "2" / "commit_success.txt").exists()
    assert len(list((run / "samples").glob("*/clip0_*.wav"))) == 3
    assert "eval_loss" in (run / "metrics.jsonl").read_text()


def test_notebook_runs(place):
    """The cells run in one namespace without Jupyter; the notebook is stored without outputs."""
    document = json.loads((REPOSITORY / "examples" / "quickstart.ipynb").read_text())
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 5 and not any(cell["outputs"] for cell in cells)
    names: dict = {"__name__": "__main__"}
    with contextlib.chdir(place):
        for number, cell in enumerate(cells):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert names["encoding"].states.shape[0] == SMALL["model.encoder.layers"] + 1
    assert soundfile.read(place / "decoded.wav")[0].size == names["decoded"].size
    assert soundfile.read(place / "again.wav")[0].size == names["tokens"].samples


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_names_exist(page):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), f"dead link {link}"
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        other = (page.parent / target).read_text() if target else text
        titles = re.findall(r"^#+ (.*)", other, flags=re.M)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert anchor in anchors, f"no heading {anchor} in {target or page}"
    for name in re.findall(r"(?:tools|configs|launch|tests)/\w+\.(?:py|sh|sbatch)", text):
        assert (REPOSITORY / name).exists() or re.search(r"\bX|NAME", name), name
    for name in re.findall(r"`uniwav ([a-z ]+?)[` ](?=[^a-z]|$)", text):
        groups = {" ".join(command.split()[:n]) for command in cli.COMMANDS for n in (1, 2)}
        assert name in groups, f"uniwav {name} is no command"
    for key in re.findall(r"--config\.([\w.]+)=", text):
        node = default_config()
        for part in key.split(".") if key not in ("any.field", "FIELD") else ():
            assert part in node, f"--config.{key} is no field"
            node = node[part]
    known = default_config().to_dict()
    for group, field in re.findall(r"`(?:config\.)?(\w+)\.(\w+)[`=]", text):
        if isinstance(known.get(group), dict):
            assert field in known[group], f"{group}.{field} is no field"


def test_sections_of_the_method_that_the_code_names_exist():
    titles = re.findall(r"^## (\d+)\. ", (REPOSITORY / "docs" / "method.md").read_text(), re.M)
    named = set()
    for file in (REPOSITORY / "uniwav_jax").rglob("*.py"):
        named |= set(re.findall(r"[Mm]ethod section (\d+)", file.read_text()))
    assert len(named) >= 6 and named <= set(titles)


def test_workflow_runs_the_pythons_of_setup_py():
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "tests.yml").read_text())
    job = workflow["jobs"]["tests"]
    assert any(".ci/run" in step.get("run", "") for step in job["steps"])
    given = commands.setup_arguments()
    prefix = "Programming Language :: Python :: "
    stated = {c.removeprefix(prefix) for c in given["classifiers"] if c.startswith(prefix)}
    assert set(job["strategy"]["matrix"]["python"]) == stated
    assert given["python_requires"] == f">={min(stated)}"


MEASURED = """
# Runs its arguments, then prints the peak resident memory of their largest process in KiB. It is a
# separate process, because Linux also counts the memory of the process that forks, here pytest.
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print("peak KiB:", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@pytest.mark.slow
def test_quickstart_on_own_folder(small_corpus, tmp_path):
    """The first command of the README, shortened; tests/launch calls the script again."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests do not run in a virtual environment; use bash tests/run.sh")
    environment = {**ONE_DEVICE, "UNIWAV_VENV": sys.prefix, "UNIWAV_DATA": str(tmp_path / "data")}
    command = ["bash", "launch/quickstart.sh", str(small_corpus), "--steps", "2"]
    command += ["--config.features.stats_seconds=4.0", "--config.evaluate.sample_every=0"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command, "--workdir", str(tmp_path / "run")],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished 2 steps" in done.stdout and "What to do next" in done.stdout
    peak = int(re.search(r"peak KiB: (\d+)", done.stdout)[1])
    assert 2**18 < peak < 4 * 2**20
    assert (tmp_path / "run" / "checkpoints" / "2").exists()
