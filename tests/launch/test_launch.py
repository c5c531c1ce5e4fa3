"""The launchers, run for real in a copy of the repository whose interpreter records its calls.

The stand-in interpreter answers questions (`-c`) with the real Python and writes down the rest:
pip, tools and the entry point, each with the environment that it saw.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ("flags.sh", "gpu_run.sh", "quickstart.sh", "slurm.sbatch", "tpu_run.sh", "venv.sh")
# What the scripts call besides bash; PATH holds nothing else, above all no other Python.
PROGRAMS = (
    "basename cat curl cut dirname env find grep gzip head ls md5sum mkdir mktemp realpath rm sed"
    " sha256sum tar touch tr"
)
BASH = shutil.which("bash")

RECORDER = f"""#!{sys.executable}
import json, os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
arguments = sys.argv[1:]
if arguments[:1] == ["-c"]:
    os.execv({sys.executable!r}, [{sys.executable!r}, *arguments])
names = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_COMPILATION_CACHE_DIR", "JAX_COORDINATOR_ADDRESS")
with open(os.environ["CALLS"], "a") as calls:
    seen = {{name: os.environ.get(name) for name in names}}
    calls.write(json.dumps({{"argv": arguments, "environment": seen}}) + "\\n")
for option in ("--out", "--eval_out"):
    if option in arguments:
        out = pathlib.Path(arguments[arguments.index(option) + 1])
        out.write_text("made") if out.suffix else out.mkdir(exist_ok=True)
script = "uniwav_jax.main" if "uniwav_jax.main" in arguments else os.path.basename(arguments[0])
status = json.loads(os.environ.get("EXITS", "{{}}")).get(script, 0)
sys.exit(signal.pause() if status == "SIGTERM" else status)
"""


class Machine:
    """A machine with this repository, a made environment and only the programs it needs."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.repository, self.bin, self.venv = (folder / n for n in ("repository", "bin", "venv"))
        self.calls_file = folder / "calls.jsonl"
        shutil.copytree(REPOSITORY / "launch", self.repository / "launch")
        shutil.copy(REPOSITORY / "setup.py", self.repository)
        (folder / "home").mkdir()
        self.bin.mkdir()
        (self.bin / "bash").symlink_to(BASH)
        for name in PROGRAMS.split():
            (self.bin / name).symlink_to(shutil.which(name))

    def program(self, path: str | pathlib.Path, text: str) -> None:
        """A program on PATH, or at an absolute path, in bash unless `text` says otherwise."""
        path = self.bin / path
        path.unlink(missing_ok=True)
        path.write_text(text if text.startswith("#!") else f"#!{BASH}\n{text}\n")
        path.chmod(0o755)

    def make_venv(self) -> None:
        command = [sys.executable, "-m", "venv", "--without-pip", str(self.venv)]
        subprocess.run(command, check=True)
        self.program(self.venv / "bin" / "python", RECORDER)

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen:
        clean = {
            "PATH": str(self.bin),
            "HOME": str(self.folder / "home"),
            "UNIWAV_VENV": str(self.venv),
            "CALLS": str(self.calls_file),
            **environment,
        }
        command = [BASH, str(self.repository / "launch" / script), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=clean, cwd=self.folder, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        process = self.start(script, *arguments, **environment)
        out, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def calls(self) -> list[dict]:
        """What the interpreter was asked to run since the last time."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.unlink()
        return [json.loads(line) for line in lines]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def ready(machine) -> Machine:
    """A machine with an environment that can import pip, by the real interpreter's answer."""
    machine.make_venv()
    return machine


def old_python(machine: Machine, name: str, *, spoil: str) -> None:
    """A real interpreter under `name` in which `spoil` was executed first."""
    code = f"import sys; {spoil}; exec(sys.argv.pop(1))"
    machine.program(name, f'[ "$1" = -c ] && exec {sys.executable} -c "{code}" "$2"')


TOO_OLD = (
    "import platform; sys.version_info = (3, 10, 12); platform.python_version = lambda: '3.10.12'"
)
NO_VENV = "sys.modules['ensurepip'] = None"


def error_line(result: subprocess.CompletedProcess) -> str:
    """The one error line of a run that ended with status 2."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2 and len(errors) == 1, result
    return errors[0]


def function(name: str, *arguments: str) -> str:
    """What a function of flags.sh prints."""
    command = [BASH, "-euc", 'source "$0"; "$@"', str(REPOSITORY / "launch" / "flags.sh")]
    return subprocess.check_output([*command, name, *arguments], text=True).strip()


@pytest.mark.parametrize("script", SCRIPTS)
def test_syntax(script):
    subprocess.run([BASH, "-n", str(REPOSITORY / "launch" / script)], check=True)


def test_bash_in_the_readme_parses():
    text = (REPOSITORY / "launch" / "README.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        subprocess.run([BASH, "-n"], input=block, text=True, check=True)


# The environment.


@pytest.mark.parametrize(
    ("spoil", "found"),
    [(TOO_OLD, "python3 (3.10.12)"), (NO_VENV, "python3 (3."), ("", "found: none")],
    ids=["3.10", "without venv", "none"],
)
def test_unusable_python_is_one_line_with_advice(machine, spoil, found):
    if spoil:
        old_python(machine, "python3", spoil=spoil)
    line = error_line(machine.run("venv.sh"))
    assert "no Python >= 3.11" in line and "apt-get install" in line and "uv" in line
    assert found in line
    assert not machine.venv.exists()


def test_named_python_is_not_replaced_by_another(machine):
    machine.program("python3.12", f'exec {sys.executable} "$@"')
    old_python(machine, "mine", spoil=TOO_OLD)
    assert "PYTHON=mine" in error_line(machine.run("venv.sh", PYTHON="mine"))


def test_uv_brings_a_python_where_the_machine_has_none(machine):
    old_python(machine, "python3", spoil=TOO_OLD)
    local = machine.folder / "home" / ".local" / "bin"
    local.mkdir(parents=True)
    machine.program(local / "uv", 'echo "uv $*"; exit 7')
    result = machine.run("venv.sh")
    assert result.returncode == 7  # uv's own failure passes through
    assert f"uv venv --quiet --seed --python 3.12 {machine.venv}" in result.stdout


def test_newer_python_wins_over_an_old_python3(machine):
    old_python(machine, "python3", spoil=TOO_OLD)
    machine.program("python3.12", f'[ "$1" = -c ] && exec {sys.executable} "$@"; echo "$*"; exit 3')
    result = machine.run("venv.sh")
    assert result.returncode == 3
    assert f"-m venv --clear {machine.venv}" in result.stdout


def test_folder_that_is_no_environment_is_left_alone(machine):
    machine.venv.mkdir()
    (machine.venv / "thesis.txt").write_text("precious")
    assert "not empty" in error_line(machine.run("venv.sh"))
    assert (machine.venv / "thesis.txt").read_text() == "precious"


def test_installs_once_and_again_when_setup_changes(ready):
    def installs(extras: str) -> list[str]:
        assert ready.run("venv.sh", extras).returncode == 0
        return [call["argv"][-1] for call in ready.calls()]

    assert installs("dev") == [f"{ready.repository}[dev]"]
    assert installs("dev") == []
    assert installs("") == [str(ready.repository)]
    assert installs("cpu") == []  # cpu means no extras
    assert installs("dev") == []  # the first set is still installed
    with open(ready.repository / "setup.py", "a") as setup:
        setup.write("# changed\n")
    assert installs("dev") == [f"{ready.repository}[dev]"]


def test_failed_install_is_tried_again(ready):
    result = ready.run("venv.sh", "dev", EXITS='{"-m": 1}')
    assert result.returncode == 1 and "installing uniwav_jax[dev] failed" in result.stderr
    ready.calls()
    assert ready.run("venv.sh", "dev").returncode == 0
    assert len(ready.calls()) == 1


# Flags.


def test_tpu_flags_per_chip_and_slices():
    for chip in ("v4", "v5litepod-16", "v5p-128", "v6e-8"):
        assert all(flag.startswith("--xla_") for flag in function("tpu_flags", chip).split())
    assert "scoped_vmem_limit" in function("tpu_flags", "v6e-8")
    assert "scoped_vmem_limit" not in function("tpu_flags", "v5p-128")
    assert "all_reduce_opt" in function("tpu_flags", "v5p-128", "2")
    assert "all_reduce_opt" not in function("tpu_flags", "v5p-128", "1")


@pytest.mark.parametrize("kind", ["gpu", "tpu", "made up"])
def test_no_flag_set_ends_a_jax_process(kind):
    """An unknown flag ends jaxlib, so a dead one in gpu_flags shows here."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_OPTIMIZATION_LEVEL": "O1"}
    environment.pop("XLA_FLAGS", None)
    if kind == "tpu":
        environment["LIBTPU_INIT_ARGS"] = function("tpu_flags", "v6e-8", "2")
    else:
        environment["XLA_FLAGS"] = function("gpu_flags")
        if kind == "made up":
            environment["XLA_FLAGS"] += " --xla_gpu_made_up=true"
    code = "import jax; jax.devices(); print(float(jax.jit(lambda x: x + 1)(1.0)))"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    if kind == "made up":
        assert result.returncode != 0 and "xla_gpu_made_up" in result.stderr
    else:
        assert result.returncode == 0 and result.stdout.strip() == "2.0", result.stderr


@pytest.mark.parametrize(
    ("driver", "capability", "extra"),
    [("580.65.06", "9.0", "cuda13"), ("570.86.15", "9.0", "cuda12"), ("580.1", "7.0", "cuda12")],
)
def test_cuda_version_follows_driver_and_card(ready, driver, capability, extra):
    text = f"[[ $1 == *driver* ]] && for i in 1 2; do echo {driver}; done || echo {capability}"
    ready.program("nvidia-smi", text)
    assert ready.run("gpu_run.sh").returncode == 0
    assert ready.calls()[0]["argv"][-1] == f"{ready.repository}[{extra}]"


def test_no_driver_is_one_line(ready):
    assert "UNIWAV_EXTRA=cpu" in error_line(ready.run("gpu_run.sh"))
    assert ready.calls() == []


# Launchers.

ARGUMENTS = ("--config=configs/a b.py", "--workdir=gs://bucket/run", "--config.data.buckets=(2,4)")


@pytest.mark.parametrize(
    ("script", "environment"),
    [
        ("gpu_run.sh", {"XLA_FLAGS": "--mine"}),
        ("tpu_run.sh", {"UNIWAV_CHIP": "v6e", "MEGASCALE_NUM_SLICES": "2"}),
    ],
)
@pytest.mark.parametrize("status", [0, 2, 143])
def test_arguments_and_exit_status_pass_through(ready, script, environment, status):
    exits = json.dumps({"uniwav_jax.main": status})
    environment = {"UNIWAV_EXTRA": "cpu", "JAX_COORDINATOR_ADDRESS": "a:1", **environment}
    result = ready.run(script, *ARGUMENTS, EXITS=exits, **environment)
    assert result.returncode == status, result.stderr
    call = ready.calls()[-1]
    seen = call["environment"]
    assert call["argv"] == ["-m", "uniwav_jax.main", *ARGUMENTS]
    assert "xla_tpu" not in (seen["XLA_FLAGS"] or "")
    assert seen["JAX_COMPILATION_CACHE_DIR"].endswith("uniwav_jax/xla")
    assert seen["JAX_COORDINATOR_ADDRESS"] == "a:1"
    if script == "tpu_run.sh":
        assert seen["LIBTPU_INIT_ARGS"].strip() == function("tpu_flags", "v6e", "2")
    else:
        assert seen["XLA_FLAGS"] == function("gpu_flags") + " --mine"  # the caller's flags win


METADATA = """case "$*" in
*/accelerator-type) echo v6e-16 ;;
*/tpu-env) printf "%s\\n" "ZONE: 'us-east5-a'" "MEGASCALE_NUM_SLICES: '4'" ;;
esac"""


def test_tpu_run_asks_the_machine_for_chip_and_slices(ready):
    ready.program("curl", METADATA)
    assert ready.run("tpu_run.sh", UNIWAV_EXTRA="cpu").returncode == 0
    flags = ready.calls()[-1]["environment"]["LIBTPU_INIT_ARGS"].strip()
    assert flags == function("tpu_flags", "v6e-16", "4")


@pytest.mark.parametrize(
    ("status", "state"), [(143, "RUNNING"), (143, "COMPLETING"), (0, "RUNNING"), (2, "RUNNING")]
)
def test_slurm_requeues_only_a_saved_run(ready, status, state):
    ready.program("srun", 'shift; exec "$@"')
    ready.program("squeue", f"echo {state}")
    ready.program("scontrol", "echo scontrol $*")
    slurm = {"SLURM_SUBMIT_DIR": str(ready.repository), "SLURM_JOB_ID": "77"}
    exits = json.dumps({"uniwav_jax.main": status})
    result = ready.run("slurm.sbatch", *ARGUMENTS, UNIWAV_EXTRA="cpu", EXITS=exits, **slurm)
    assert result.returncode == status, result.stderr
    assert ready.calls()[-1]["argv"] == ["-m", "uniwav_jax.main", *ARGUMENTS]
    requeued = "scontrol requeue 77" in result.stdout
    assert requeued == ((status, state) == (143, "RUNNING"))


# Quickstart.


def stages(calls: list[dict]) -> list[str]:
    """Names of the tools and the entry point that were called, pip left out."""
    return [
        "main" if "uniwav_jax.main" in call["argv"] else pathlib.Path(call["argv"][0]).stem
        for call in calls
        if "pip" not in call["argv"]
    ]


@pytest.fixture
def recordings(ready, small_corpus) -> pathlib.Path:
    """The user's own folder of real speech, with a space in its name."""
    folder = ready.folder / "my speech"
    shutil.copytree(small_corpus, folder)
    return folder


def test_quickstart_runs_each_stage_once_and_trains_again(ready, recordings):
    first = ready.run("quickstart.sh", "my speech", "--steps", "7", "--config.seed=3")
    assert first.returncode == 0, first.stderr
    calls = ready.calls()
    assert calls[0]["argv"][-1].endswith("[convert]")
    assert stages(calls) == ["build_manifest", "pack_array_record", "main"]
    data = next((ready.repository / "data").iterdir())
    tool = str(ready.repository / "tools" / "build_manifest.py")
    manifest, held_out = str(data / "manifest.tsv"), str(data / "eval.tsv")
    options = ["--out", manifest, "--eval_out", held_out, "--eval_fraction", "0.05"]
    assert calls[1]["argv"] == [tool, str(recordings), *options]
    workdir = ready.repository / "runs" / f"demo-{data.name}"
    assert calls[3]["argv"] == [
        *("-m", "uniwav_jax.main", f"--config={ready.repository}/configs/demo.py"),
        f"--workdir={workdir}",
        f"--config.data.manifest={data}/packed",
        f"--config.data.eval_manifest={held_out}",
        *("--config.train.steps=7", "--config.seed=3"),
    ]
    printed = re.findall(r"^== (.*)", first.stdout, re.MULTILINE)
    assert printed == ["environment", "speech", "manifest", "ArrayRecord", "training", "done"]
    assert str(workdir) in first.stdout and "metrics.jsonl" in first.stdout

    assert ready.run("quickstart.sh", "my speech").returncode == 0
    assert stages(ready.calls()) == ["main"]

    clip = next(recordings.glob("*.flac"))
    shutil.copy(clip, recordings / "new.flac")
    assert ready.run("quickstart.sh", str(recordings), "--workdir", "x").returncode == 0
    calls = ready.calls()
    assert stages(calls) == ["build_manifest", "pack_array_record", "main"]
    assert "--workdir=x" in calls[-1]["argv"]


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        ("build_manifest.py", 2, "error: stage 'manifest' failed with exit status 2"),
        ("uniwav_jax.main", 1, "error: stage 'training' failed with exit status 1"),
        ("uniwav_jax.main", 143, "stopped in stage 'training'; the same command continues"),
    ],
)
def test_quickstart_names_the_stage_that_failed(ready, recordings, script, status, message):
    result = ready.run("quickstart.sh", str(recordings), EXITS=json.dumps({script: status}))
    assert result.returncode == status
    assert message in result.stderr.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_quickstart_lets_the_training_save_when_stopped(ready, recordings, number):
    process = ready.start("quickstart.sh", str(recordings), EXITS='{"uniwav_jax.main": "SIGTERM"}')
    while not (ready.calls_file.exists() and "uniwav_jax.main" in ready.calls_file.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 143 and "the same command continues" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["--stepz", "3"], "unknown option --stepz"),
        (["--steps"], "--steps needs a value"),
        (["--librispeech=test"], "dev-clean or train-clean-100"),
        (["--librispeech", "bin"], "not both"),
        ([], "apt-get is not here"),  # this machine's PATH has none
    ],
)
def test_quickstart_explains_a_mistake(ready, arguments, message):
    assert message in error_line(ready.run("quickstart.sh", *arguments))
    assert "main" not in stages(ready.calls())


def test_empty_package_lists_are_explained(ready):
    for name in ("apt-get", "apt-cache"):
        ready.program(name, "echo 'E: Unable to locate package' >&2; exit 100")
    ready.program("dpkg", "")
    assert "sudo apt-get update" in error_line(ready.run("quickstart.sh"))


def test_librispeech_is_verified_and_unpacked(ready, small_corpus):
    """A mirror on disk: a damaged archive is refused, the right one unpacked, then left alone."""
    mirror = ready.folder / "mirror"
    (mirror / "LibriSpeech" / "dev-clean").mkdir(parents=True)
    clip = sorted(small_corpus.glob("*.flac"))[0]
    shutil.copy(clip, mirror / "LibriSpeech" / "dev-clean" / "84-121123-0000.flac")
    archive = mirror / "dev-clean.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", mirror, "LibriSpeech"], check=True)
    environment = {"UNIWAV_LIBRISPEECH_URL": f"file://{mirror}"}

    line = error_line(ready.run("quickstart.sh", "--librispeech", **environment))
    assert "42e2234ba48799c1f50f24a7926300a1" in line and "delete the file" in line
    assert stages(ready.calls()) == []

    script = ready.repository / "launch" / "quickstart.sh"
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    script.write_text(script.read_text().replace("42e2234ba48799c1f50f24a7926300a1", digest))
    (ready.repository / "data" / "dev-clean.tar.gz").unlink()
    result = ready.run("quickstart.sh", "--librispeech", **environment)
    assert result.returncode == 0, result.stderr
    unpacked = ready.repository / "data" / "LibriSpeech" / "dev-clean"
    assert [path.name for path in unpacked.iterdir()] == ["84-121123-0000.flac"]
    assert ready.calls()[0]["argv"][1] == str(unpacked)
    shutil.rmtree(mirror)
    assert ready.run("quickstart.sh", "--librispeech", **environment).returncode == 0
    assert stages(ready.calls()) == ["main"]
