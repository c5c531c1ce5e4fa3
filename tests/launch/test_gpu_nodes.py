"""launch/gpu_run.sh on several hosts, with a substitute for ssh that really runs the commands."""

import os
import shlex
import signal

import pytest

from tests.launch.conftest import BASH, WORKER_PYTHON, Machine, finish

ARGUMENTS = ("--config=configs/a b.py", "--workdir=/fs/it's", "--config.data.buckets=(2,4)")
SSH = f"""
while [ "$1" = -o ]; do shift 2; done
host="$1"
shift
printf '%s\\0' "$host" "$*" >>"$CLOUD/ssh"
[ ! -e "$CLOUD/down-$host" ] || exit 255
setsid --wait env -i PATH="$PATH" HOME="$HOME" CLOUD="$CLOUD" ATTEMPTS="$CLOUD/attempts-$host" \\
  JOBS="$(cat "$CLOUD/jobs-$host" 2>/dev/null)" {BASH} -c "$*"
"""


class Hosts:
    """Hosts on which the given jobs run."""

    def __init__(self, machine: Machine):
        self.machine, self.folder = machine, machine.cloud
        self.folder.mkdir()
        machine.make_worker_venv()
        machine.program("ssh", SSH)

    def start(self, *arguments: str, jobs: dict[str, str], **environment: str):
        for host, job in jobs.items():
            (self.folder / f"jobs-{host}").write_text(job)
        settings = {"CLOUD": str(self.folder), "UNIWAV_EXTRA": "cpu", "UNIWAV_POLL": "0.05"}
        settings |= {"UNIWAV_HOSTS": " ".join(jobs), "TMPDIR": str(self.machine.folder)}
        return self.machine.start("gpu_run.sh", *arguments, **settings, **environment)

    def run(self, *arguments: str, jobs: dict[str, str], **environment: str):
        return finish(self.start(*arguments, jobs=jobs, **environment))

    def calls(self) -> list[tuple[str, str]]:
        """Host and command of each call of ssh."""
        words = (self.folder / "ssh").read_text().split("\0")
        return sorted(zip(words[:-1:2], words[1::2]))


@pytest.fixture
def hosts(machine) -> Hosts:
    return Hosts(machine)


def test_same_command_on_each_host_with_its_rank(hosts):
    jobs = {"a@first": "step-1 0", "second": "hidden 0", "third": "0"}
    dry = hosts.run("--dry_run", *ARGUMENTS, jobs=jobs)
    assert dry.returncode == 0 and not (hosts.folder / "ssh").exists()

    result = hosts.run(*ARGUMENTS, jobs=jobs, NCCL_DEBUG="INFO x", XLA_FLAGS="--mine")
    assert result.returncode == 0, result.stderr
    entry_points = sorted(hosts.machine.entry_points(3), key=lambda call: call[1])
    assert [call[1] for call in entry_points] == [f"first:8476 3 {rank}" for rank in range(3)]
    for call in entry_points:
        assert call[2:] == ["-m", "uniwav_jax.main", *ARGUMENTS]
    assert "step-1" in result.stdout and "hidden" not in result.stdout
    assert not list(hosts.machine.folder.glob("uniwav-*"))

    # The environment is installed first; otherwise the dry run would differ from the real one.
    printed = [shlex.split(line) for line in dry.stdout.splitlines()]
    assert [words[5] for words in printed] == ["a@first", "a@first", "second", "third"]
    done = [
        (host, command.replace("XLA_FLAGS=--mine ", "").replace("NCCL_DEBUG=INFO\\ x ", ""))
        for host, command in hosts.calls()
    ]
    assert done == sorted((words[5], words[6]) for words in printed)
    assert done != hosts.calls()


def test_failing_host_ends_the_others_which_save(hosts):
    jobs = {"first": "@never", "second": "+started @go trouble 3", "third": "@never"}
    process = hosts.start(*ARGUMENTS, jobs=jobs)
    hosts.machine.wait_for("started", process)
    (hosts.folder / "go").touch()
    result = finish(process)
    assert result.returncode == 3
    assert "second ended with status 3" in result.stderr and "trouble" in result.stderr
    logs = next(hosts.machine.folder.glob("uniwav-*"))
    assert {name: (logs / f"status.{name}").read_text() for name in "012"} == {
        **{"0": "143\n", "1": "3\n", "2": "143\n"}
    }


@pytest.mark.parametrize("status", [2, 143])
def test_status_is_passed_on(hosts, status):
    jobs = {"first": f"{status}", "second": "@never"}
    assert hosts.run(*ARGUMENTS, jobs=jobs).returncode == status


def test_host_that_does_not_save_is_killed(hosts):
    hosts.machine.program(
        hosts.machine.venv / "bin" / "python",
        f'[ "$NODE_RANK" != 1 ] || trap "" TERM\nsource {hosts.machine.folder}/real "$@"',
    )
    (hosts.machine.folder / "real").write_text(WORKER_PYTHON)
    jobs = {"first": "@second 1", "second": "+second @never"}
    result = hosts.run(*ARGUMENTS, jobs=jobs, UNIWAV_GRACE="0.2")
    assert result.returncode == 1
    logs = next(hosts.machine.folder.glob("uniwav-*"))
    assert (logs / "status.1").read_text() == "137\n"


def test_unreachable_host_ends_the_others(hosts):
    (hosts.folder / "down-second").touch()
    result = hosts.run(*ARGUMENTS, jobs={"first": "@never", "second": "0"})
    assert result.returncode == 255 and "second ended with status 255" in result.stderr


def test_first_host_without_environment_stops_before_the_start(hosts):
    (hosts.folder / "down-first").touch()
    result = hosts.run(*ARGUMENTS, jobs={"first": "0", "second": "0"})
    assert result.returncode == 255
    assert [host for host, _ in hosts.calls()] == ["first"]


def test_ctrl_c_lets_all_hosts_save(hosts):
    jobs = {"first": "+first @never", "second": "+second @never"}
    process = hosts.start(*ARGUMENTS, jobs=jobs)
    hosts.machine.wait_for("first", process)
    hosts.machine.wait_for("second", process)
    os.killpg(process.pid, signal.SIGINT)
    result = finish(process)
    assert result.returncode == 143 and "SIGTERM" in result.stderr


def test_dry_run_of_one_machine(machine):
    result = machine.run("gpu_run.sh", "--dry_run", *ARGUMENTS, XLA_FLAGS="--mine")
    assert result.returncode == 0, result.stderr
    words = shlex.split(result.stdout)
    assert words[-5:] == ["-m", "uniwav_jax.main", *ARGUMENTS]
    assert words[0].startswith("XLA_FLAGS=--xla_gpu") and words[0].endswith(" --mine")
    assert not machine.venv.exists()


def test_dry_run_of_slurm(machine):
    folder = {"SLURM_SUBMIT_DIR": str(machine.repository)}
    result = machine.run("slurm.sbatch", "--dry_run", *ARGUMENTS, UNIWAV_EXTRA="cpu", **folder)
    assert result.returncode == 0, result.stderr
    venv, srun = (shlex.split(line) for line in result.stdout.splitlines())
    assert venv == ["bash", "launch/venv.sh", "cpu"]
    assert srun == [
        *("srun", "--kill-on-bad-exit=0", "bash", "launch/gpu_run.sh"),
        *ARGUMENTS,
    ]
