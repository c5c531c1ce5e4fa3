"""The launchers, which really run with a recording interpreter."""

import json
import os
import subprocess
import sys

import pytest

from tests.launch.conftest import BASH, REPOSITORY, SCRIPTS, Machine, error_line


def old_python(machine: Machine, name: str, *, fault: str) -> None:
    """A real interpreter called `name` which executes `fault` first."""
    code = f"import sys; {fault}; exec(sys.argv.pop(1))"
    machine.program(name, f'[ "$1" = -c ] && exec {sys.executable} -c "{code}" "$2"')


TOO_OLD = (
    "import platform; sys.version_info = (3, 10, 12); platform.python_version = lambda: '3.10.12'"
)
NO_VENV = "sys.modules['ensurepip'] = None"


def function(name: str, *arguments: str) -> str:
    """The output of a function of flags.sh."""
    command = [BASH, "-euc", 'source "$0"; "$@"', str(REPOSITORY / "launch" / "flags.sh")]
    return subprocess.check_output([*command, name, *arguments], text=True).strip()


@pytest.mark.parametrize("script", SCRIPTS)
def test_syntax(script):
    subprocess.run([BASH, "-n", str(REPOSITORY / "launch" / script)], check=True)


# Tests of the environment.


@pytest.mark.parametrize(
    ("fault", "found"),
    [(TOO_OLD, "python3 (3.10.12)"), (NO_VENV, "python3 (3."), ("", "found: none")],
    ids=["3.10", "without venv", "none"],
)
def test_unusable_python_is_one_line_with_advice(machine, fault, found):
    if fault:
        old_python(machine, "python3", fault=fault)
    line = error_line(machine.run("venv.sh"))
    assert "no Python >= 3.11" in line and "apt-get install" in line and "uv" in line
    assert found in line
    assert not machine.venv.exists()


def test_named_python_is_not_replaced(machine):
    machine.program("python3.12", f'exec {sys.executable} "$@"')
    old_python(machine, "mine", fault=TOO_OLD)
    assert "PYTHON=mine" in error_line(machine.run("venv.sh", PYTHON="mine"))


def test_uv_installs_a_python_if_the_machine_has_none(machine):
    old_python(machine, "python3", fault=TOO_OLD)
    local = machine.folder / "home" / ".local" / "bin"
    local.mkdir(parents=True)
    machine.program(local / "uv", 'echo "uv $*"; exit 7')
    result = machine.run("venv.sh")
    assert result.returncode == 7  # uv's exit status is passed on
    assert f"uv venv --quiet --seed --python 3.12 {machine.venv}" in result.stdout


def test_newer_python_is_preferred_to_an_old_python3(machine):
    old_python(machine, "python3", fault=TOO_OLD)
    machine.program("python3.12", f'[ "$1" = -c ] && exec {sys.executable} "$@"; echo "$*"; exit 3')
    result = machine.run("venv.sh")
    assert result.returncode == 3
    assert f"-m venv --clear {machine.venv}" in result.stdout


def test_folder_that_is_no_environment_is_not_changed(machine):
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
    assert installs("cpu") == []  # cpu stands for no extras
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


# Tests of flags.


def test_tpu_flags_per_chip_and_slices():
    for chip in ("v4", "v5litepod-16", "v5p-128", "v6e-8"):
        assert all(flag.startswith("--xla_") for flag in function("tpu_flags", chip).split())
    assert "all_reduce_opt" in function("tpu_flags", "v5p-128", "2")
    assert "all_reduce_opt" not in function("tpu_flags", "v5p-128", "1")


@pytest.mark.parametrize("kind", ["gpu", "tpu", "made up"])
def test_flags_are_accepted_by_jax(kind):
    """An unknown flag ends jaxlib's process, so this finds outdated ones in gpu_flags."""
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


# Tests of the launchers.

ARGUMENTS = ("--config=configs/a b.py", "--workdir=gs://bucket/run", "--config.data.buckets=(2,4)")


@pytest.mark.parametrize(
    ("script", "environment"),
    [
        ("gpu_run.sh", {"XLA_FLAGS": "--mine"}),
        ("tpu_worker.sh", {"UNIWAV_CHIP": "v6e", "MEGASCALE_NUM_SLICES": "2"}),
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
    if script == "tpu_worker.sh":
        assert seen["LIBTPU_INIT_ARGS"].strip() == function("tpu_flags", "v6e", "2")
    else:
        assert (
            seen["XLA_FLAGS"] == function("gpu_flags") + " --mine"
        )  # the caller's flags take precedence


METADATA = """case "$*" in
*/accelerator-type) echo v6e-16 ;;
*/tpu-env) printf "%s\\n" "ZONE: 'us-east5-a'" "MEGASCALE_NUM_SLICES: '4'" ;;
esac"""


def test_tpu_worker_reads_chip_and_slices_from_the_machine(ready):
    ready.program("curl", METADATA)
    assert ready.run("tpu_worker.sh", *ARGUMENTS, UNIWAV_EXTRA="cpu").returncode == 0
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
