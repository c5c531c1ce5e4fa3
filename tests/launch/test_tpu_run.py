"""launch/tpu_run.sh against a stand-in for gcloud whose workers run their commands for real."""

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from tests.launch.conftest import BASH, Machine, error_line, finish

PLACE = ("--name=uni", "--zone=us-east5-a")
SLICE = (*PLACE, "--type=v6e-16")
ARGUMENTS = ("--config=configs/a b.py", "--workdir=gs://bucket/r", "--config.data.buckets=(2,4)")
RUN = (*SLICE, "--", *ARGUMENTS)
NO_CAPACITY = 'Error code 8, message: There is no more capacity in the zone "us-east5-a"'
NO_QUOTA = "Quota limit 'TPUV6EPerProjectPerZoneForTPUAPI' has been exceeded. Limit: 0 in zone."
DONE = "step-1 0"
PREPARE = "scp prepare start"  # what is done on the workers before a job is followed


class Cloud:
    """The machine as a workstation, with a cloud behind its gcloud."""

    def __init__(self, machine: Machine, git: pathlib.Path):
        self.machine, self.folder = machine, machine.cloud
        self.folder.mkdir()
        self.state = {
            **{"resources": {}, "workers": 1, "create_errors": [], "describe_errors": []},
            **{"waiting": [], "down": {}, "cuts": [], "jobs": [DONE], "other_jobs": ["0"]},
        }
        fake = pathlib.Path(__file__).with_name("fake_gcloud.py").read_text()
        machine.program("gcloud", f"#!{sys.executable} -IS\n{fake}")
        machine.program("uv", "")
        machine.make_worker_venv()
        shutil.copytree(git, machine.repository / ".git")

    def start(self, *arguments: str, world: dict | None = None, **environment: str):
        (self.folder / "world.json").write_text(json.dumps({**self.state, **(world or {})}))
        return self.again(*arguments, **environment)

    def again(self, *arguments: str, **environment: str):
        """Starts the script in the world as it is."""
        seconds = {"UNIWAV_POLL": "0.05", "UNIWAV_CAPACITY_POLL": "0.05"}
        settings = {"CLOUD": str(self.folder), "BASH_PROGRAM": BASH, "UNIWAV_EXTRA": "cpu"}
        environment = {**settings, **seconds, **environment}
        return self.machine.start("tpu_run.sh", *arguments, **environment)

    def run(self, *arguments: str, world: dict | None = None, **environment: str):
        return finish(self.start(*arguments, world=world, **environment))

    def calls(self) -> list[list[str]]:
        """What gcloud was called with since the last time."""
        file = self.folder / "calls.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def steps(self) -> str:
        """The calls since the last time in one word each."""
        return " ".join(short(call) for call in self.calls())

    def resources(self) -> list[str]:
        return list(json.loads((self.folder / "world.json").read_text())["resources"])

    def end_jobs(self) -> None:
        for keeper in self.folder.glob("workers/*/*/uniwav_job/keeper"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(keeper.read_text()), signal.SIGKILL)


def short(call: list[str]) -> str:
    """A word for a call: the verb, or for ssh what is done there."""
    if call[4] != "ssh":
        return call[4]
    command = call[-1]
    for word in ("state", "follow", "stop", "start"):
        if f"detached.sh {word}" in command:
            return word
    return "prepare"


def shown(result: subprocess.CompletedProcess) -> list[str]:
    """Lines of the job's log."""
    return [line for line in result.stdout.splitlines() if line.startswith("step")]


@pytest.fixture(scope="module")
def git(tmp_path_factory) -> pathlib.Path:
    """What git keeps of a commit of the machine's repository."""
    repository = Machine(tmp_path_factory.mktemp("commit")).repository
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=a"], check=True)
    shutil.rmtree(repository / ".git" / "hooks", ignore_errors=True)
    return repository / ".git"


@pytest.fixture
def cloud(machine, git):
    cloud = Cloud(machine, git)
    yield cloud
    cloud.end_jobs()


def test_first_run_creates_prepares_and_trains_and_a_dry_run_tells_it(cloud):
    dry = cloud.run(*SLICE, "--dry_run", "--delete_when_done", "--", *ARGUMENTS)
    assert dry.returncode == 0 and cloud.calls() == [] and cloud.resources() == []
    told = [shlex.split(line, comments=True) for line in dry.stdout.splitlines()]
    told = [words for words in told if words]

    arguments = (*SLICE, "--delete_when_done", "--", *ARGUMENTS)
    result = cloud.run(*arguments, world={"workers": 2})
    assert result.returncode == 0, result.stderr
    calls = cloud.calls()
    assert [words for words in told if words[0] == "gcloud"] == calls
    git = [words for words in told if words[0] != "gcloud"]
    assert len(git) == 1 and git[0][-1] == "HEAD" and told.index(git[0]) == 4
    steps = "describe create describe state scp prepare start follow delete"
    assert " ".join(short(call) for call in calls) == steps
    assert calls[1][4:] == [
        *("create", "uni", "--version=v2-alpha-tpuv6e", "--zone=us-east5-a", "--quiet"),
        "--accelerator-type=v6e-16",
    ]
    entry_points = cloud.machine.entry_points()
    assert len(entry_points) == 2  # workers
    for call in entry_points:
        assert call[2:] == ["-m", "uniwav_jax.main", *ARGUMENTS]
    assert shown(result) == ["step-1"]
    assert cloud.resources() == []


def test_workers_get_the_commit_and_keep_their_environment(cloud):
    (cloud.machine.repository / "launch" / "new.sh").write_text("not committed")
    jobs = ["+started @go 0"]
    process = cloud.start(*RUN, world={"jobs": jobs})
    cloud.machine.wait_for("started", process)
    for worker in (cloud.folder / "workers" / "uni").iterdir():
        assert (worker / "uniwav_jax" / "setup.py").exists()
        assert not (worker / "uniwav_jax" / "launch" / "new.sh").exists()
        (worker / "uniwav_jax" / "old.py").touch()
        (worker / "uniwav_jax" / ".venv").mkdir()
    (cloud.folder / "go").touch()
    result = finish(process)
    assert "uncommitted changes stay here" in result.stdout
    assert "uni still exists and costs money" in result.stdout and "--down" in result.stdout

    assert finish(cloud.again(*RUN)).returncode == 0
    for worker in (cloud.folder / "workers" / "uni").iterdir():
        assert (worker / "uniwav_jax" / ".venv").exists()
        assert not (worker / "uniwav_jax" / "old.py").exists()


def test_ready_slice_is_reused(cloud):
    assert cloud.run(*RUN).returncode == 0
    cloud.calls()
    assert finish(cloud.again(*RUN)).returncode == 0
    assert cloud.steps() == f"describe state {PREPARE} follow"
    assert len(cloud.machine.entry_points()) == 2


def test_uv_is_installed_where_python_is_old(cloud):
    (cloud.machine.bin / "uv").unlink()
    cloud.machine.program("sh", f'exec {BASH} "$@"')
    cloud.machine.program("curl", 'case "$*" in *astral*) echo "touch ~/got-uv" ;; esac')
    assert cloud.run(*RUN).returncode == 0
    assert (cloud.folder / "workers/uni/0/got-uv").exists()


def test_variables_reach_the_workers(cloud):
    result = cloud.run(*SLICE, "--env=LIBTPU_INIT_ARGS=--mine --two", "--", *ARGUMENTS)
    assert result.returncode == 0, result.stderr
    for call in cloud.machine.entry_points():
        assert call[0].endswith(" --mine --two")


def test_queued_spot_slice_is_waited_for(cloud):
    waiting = [["WAITING_FOR_RESOURCES", "PROVISIONING"]]
    arguments = (*SLICE, "--queued", "--spot", "--create_flag=--network=n", "--project=p")
    result = cloud.run(*arguments, "--", *ARGUMENTS, world={"waiting": waiting})
    assert result.returncode == 0, result.stderr
    calls = cloud.calls()
    steps = f"describe create describe describe describe state {PREPARE} follow"
    assert " ".join(short(call) for call in calls) == steps
    assert calls[1][3:] == [
        *("queued-resources", "create", "uni", "--node-id=uni"),
        *("--runtime-version=v2-alpha-tpuv6e", "--zone=us-east5-a", "--quiet", "--project=p"),
        *("--accelerator-type=v6e-16", "--spot", "--network=n"),
    ]
    assert all("--project=p" in call for call in calls)
    assert "uni is WAITING_FOR_RESOURCES; waiting" in result.stdout


def test_two_slices_run_the_same_on_all_workers(cloud):
    result = cloud.run(*SLICE, "--slices=2", "--", *ARGUMENTS)
    assert result.returncode == 0, result.stderr
    calls = cloud.calls()
    create = next(call for call in calls if call[4] == "create")
    assert create[3] == "queued-resources"
    assert {"--node-count=2", "--node-prefix=uni"} <= set(create)
    for step in ("state", "prepare", "start", "scp"):
        nodes = sorted(
            call[5] if step != "scp" else call[6] for call in calls if short(call) == step
        )
        assert [node.partition(":")[0] for node in nodes] == ["uni-0", "uni-1"], step
    follow = [call for call in calls if short(call) == "follow"]
    assert len(follow) == 1 and follow[0][5:7] == ["uni-0", "--worker=0"]
    assert len(cloud.machine.entry_points()) == 2


@pytest.mark.parametrize("queued", [(), ("--queued",)])
def test_preempted_slice_is_made_again_and_the_run_continues(cloud, queued):
    jobs = ["step-1 +preempted 143", "step-2 0"]
    result = cloud.run(*SLICE, *queued, "--", *ARGUMENTS, world={"jobs": jobs})
    assert result.returncode == 0, result.stderr
    first = f"describe create describe state {PREPARE} follow"
    assert cloud.steps() == f"{first} describe describe delete {first}"
    assert shown(result) == ["step-1", "step-2"]
    assert ("uni is SUSPENDED" if queued else "uni is PREEMPTED") in result.stdout


def test_preempted_while_nobody_looked(cloud):
    cloud.run(*RUN)
    cloud.calls()
    (cloud.folder / "preempted").touch()
    assert finish(cloud.again(*RUN)).returncode == 0
    assert cloud.steps() == f"describe delete describe create describe state {PREPARE} follow"


def test_worker_that_comes_up_late_is_waited_for(cloud):
    result = cloud.run(*RUN, world={"workers": 2, "down": {"uni/1": 3}})
    assert result.returncode == 0, result.stderr
    waits = "describe state " * 3
    assert cloud.steps() == f"describe create {waits}describe state {PREPARE} follow"
    assert "(try 3 of 5)" in result.stdout


def test_worker_that_stays_down_has_the_slice_made_again_and_then_ends_it(cloud):
    down = {"workers": 2, "down": {"uni/1": -1}}
    result = cloud.run(
        *SLICE, "--max_failures=2", "--", *ARGUMENTS, world=down, UNIWAV_SSH_TRIES="2"
    )
    line = error_line(result)
    assert "workers of uni do not answer" in line and "2 failures in a row" in line
    first = "describe create describe state describe state"
    assert cloud.steps() == f"{first} delete {first}"


def test_connection_that_breaks_while_starting_stops_the_half_started(cloud):
    # Worker 1 answers the question and takes the code, then misses the start once.
    cloud.machine.program(
        "setsid",
        '[ "$WORKER" = 1 ] && mkdir "$CLOUD/refused" 2>/dev/null && exit 255\n'
        f'exec {shutil.which("setsid")} "$@"',
    )
    jobs = {"workers": 2, "jobs": ["@go 0", "step-2 0"]}
    result = cloud.run(*RUN, world=jobs)
    assert result.returncode == 0, result.stderr
    assert cloud.steps().endswith(f"{PREPARE} describe state stop {PREPARE} follow")
    assert shown(result) == ["step-2"]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (NO_QUOTA, "cannot be created; gcloud's message is above"),
        ("PERMISSION_DENIED: Permission 'tpu.nodes.create' denied", "gcloud's message is above"),
        ("INVALID_ARGUMENT: Cloud TPU received a bad request", "gcloud's message is above"),
        ("NOT_FOUND: zone us-east5-a was not found", "wrong --zone"),
    ],
)
def test_error_that_a_second_try_does_not_change_stops(cloud, message, text):
    result = cloud.run(*RUN, world={"create_errors": [message]})
    assert text in error_line(result)
    assert message in result.stderr
    assert cloud.steps() == "describe create"


def test_no_capacity_is_waited_for_without_end(cloud):
    errors = [NO_CAPACITY] * 6  # more than the failures that are allowed
    result = cloud.run(*RUN, world={"create_errors": errors})
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("no capacity for v6e-16 in us-east5-a") == 6
    assert cloud.steps().startswith("describe create " * 7 + "describe state")


def test_other_errors_of_creation_are_tried_again_a_few_times(cloud):
    result = cloud.run(*RUN, world={"create_errors": ["INTERNAL: try later"] * 9})
    assert "creating uni failed; gave up after 5 failures in a row" in error_line(result)
    assert cloud.steps() == "describe create " * 4 + "describe create"


@pytest.mark.parametrize(
    ("reason", "again"), [("no more capacity", True), ("Quota limit has been exceeded", False)]
)
def test_queued_request_that_failed(cloud, reason, again):
    waiting = {"waiting": [[f"FAILED\t{reason}"]]}
    result = cloud.run(*SLICE, "--queued", "--", *ARGUMENTS, world=waiting)
    assert f"uni is FAILED ({reason}); deleting it" in result.stdout
    if again:
        assert result.returncode == 0
        assert cloud.steps().startswith("describe create describe delete describe create describe")
    else:
        assert f"cannot be created: {reason}" in error_line(result)


def test_lost_connection_continues_the_log(cloud):
    jobs = ["step-1 step-2 @cut step-3 step-4 0"]
    # The first line is the header that detached.sh writes; then two steps and the break.
    result = cloud.run(*RUN, world={"jobs": jobs, "cuts": [2, 1]})
    assert result.returncode == 0, result.stderr
    assert shown(result) == ["step-1", "step-2", "step-3", "step-4"]
    calls = cloud.calls()
    again = "describe state follow"
    steps = f"describe create describe state {PREPARE} follow {again} {again}"
    assert " ".join(short(call) for call in calls) == steps
    follows = [call[-1].split()[-1] for call in calls if short(call) == "follow"]
    assert follows == ["0", "2", "3"]  # after the lines that were shown
    assert len(cloud.machine.entry_points()) == 1


def test_gcloud_that_repeats_the_follow_by_itself_repeats_no_line(cloud):
    """On a broken connection the real one runs the same command again, up to ten times."""
    gcloud = cloud.machine.bin / "gcloud"
    gcloud.rename(cloud.machine.bin / "gcloud-once")
    cloud.machine.program(
        "gcloud",
        'gcloud-once "$@" || exit\ncase "$*" in *" follow "*) gcloud-once "$@" ;; esac',
    )
    jobs = ["step-1 step-2 0"]
    result = cloud.run(*RUN, world={"jobs": jobs})
    assert result.returncode == 0 and shown(result) == ["step-1", "step-2"], result
    assert cloud.steps().endswith("follow follow")


def test_gcloud_out_of_reach_is_waited_for(cloud):
    cloud.run(*RUN)
    cloud.calls()
    world = cloud.folder / "world.json"
    errors = {"describe_errors": ["There was a problem refreshing your tokens: unreachable"] * 6}
    world.write_text(json.dumps({**json.loads(world.read_text()), **errors}))
    assert finish(cloud.again(*RUN)).returncode == 0
    assert cloud.steps() == "describe " * 7 + f"state {PREPARE} follow"


def test_mistake_of_the_user_stops(cloud):
    result = cloud.run(*RUN, world={"jobs": ["error:no-such-file 2"]})
    assert "ended with status 2" in error_line(result)
    assert "error:no-such-file" in result.stdout
    assert cloud.steps().endswith("follow")
    assert cloud.resources() == ["tpu-vm uni"]


def test_mistake_on_another_worker_stops_too(cloud):
    """Worker 0 only sees that it lost its partner; the reason is in the other's log."""
    world = {"jobs": ["step-1 134"], "workers": 2, "other_jobs": ["error:no-such-file 2"]}
    result = cloud.run(*RUN, world=world)
    assert "a worker ended with status 2" in error_line(result)
    assert "uni-w1: error:no-such-file" in result.stdout
    assert "uni-w0: exit status 134" in result.stdout


def test_job_that_keeps_crashing_is_given_up(cloud):
    result = cloud.run(*SLICE, "--max_failures=2", "--", *ARGUMENTS, world={"jobs": ["20"]})
    assert "the job ended with status 20; gave up after 2 failures" in error_line(result)
    crash = f"state {PREPARE} follow describe stop"
    assert cloud.steps() == "describe create" + f" describe {crash}" * 2
    assert "uni still exists and costs money" in result.stdout


def test_crashes_after_a_long_run_do_not_add_up(cloud):
    jobs = {"jobs": ["1", "1", DONE]}
    result = cloud.run(*SLICE, "--max_failures=2", "--", *ARGUMENTS, world=jobs, UNIWAV_SHORT="0")
    assert result.returncode == 0, result


def test_leftovers_of_a_crash_are_ended_before_the_next_start(cloud):
    world = {"jobs": ["1", "step-2 0"], "workers": 2, "other_jobs": ["@never", "0"]}
    result = cloud.run(*RUN, world=world)
    assert result.returncode == 0, result.stderr
    assert "uni-w1: exit status 143" in result.stdout
    assert cloud.steps().endswith(f"describe stop describe state {PREPARE} follow")


def test_ctrl_c_leaves_the_job_and_the_same_command_follows_it(cloud):
    world = {"jobs": ["step-1 @go step-2 0"], "workers": 2, "other_jobs": ["@go 0"]}
    process = cloud.start(*RUN, world=world)
    while "step-1" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    result = finish(process)
    assert result.returncode == 130
    assert "the job goes on" in result.stdout and "--stop" in result.stdout
    cloud.calls()

    other = finish(cloud.again(*SLICE, "--", *ARGUMENTS, "--config.seed=3"))
    line = error_line(other)
    assert "another job runs on uni" in line and ARGUMENTS[-1] in line and "--stop" in line
    assert cloud.steps() == "describe state"

    process = cloud.again(*RUN)
    while "step-1" not in (line := process.stdout.readline()):  # the log so far
        assert line, process.communicate()
    (cloud.folder / "go").touch()
    result = finish(process)
    assert result.returncode == 0 and shown(result) == ["step-2"]
    assert cloud.steps() == "describe state follow"
    assert len(cloud.machine.entry_points()) == 2


def test_stop_lets_the_job_save_and_its_follower_end(cloud):
    world = {"jobs": ["step-1 @never"], "workers": 2, "other_jobs": ["@never"]}
    process = cloud.start(*RUN, world=world)
    while "step-1" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    stop = finish(cloud.again(*PLACE, "--stop"))
    assert stop.returncode == 0
    assert {"uni-w0: exit status 143", "uni-w1: exit status 143"} <= set(stop.stdout.splitlines())
    result = finish(process)
    assert result.returncode == 143 and "the same command continues it" in result.stdout
    assert cloud.resources() == ["tpu-vm uni"]


@pytest.mark.parametrize("kind", [("--queued",), (), None])
def test_down_deletes_what_is_there(cloud, kind):
    if kind is None:
        cloud.start(*PLACE, "--down").communicate()
    else:
        cloud.run(*SLICE, *kind, "--", *ARGUMENTS)
    dry = finish(cloud.again(*PLACE, "--down", "--dry_run"))
    assert len([line for line in dry.stdout.splitlines() if " delete " in line]) == 2
    cloud.calls()
    result = finish(cloud.again(*PLACE, "--down"))
    assert result.returncode == 0, result.stderr
    assert cloud.resources() == []
    deleted = [call[3] for call in cloud.calls() if call[4] == "delete"]
    assert deleted == {None: [], (): ["tpu-vm"], ("--queued",): ["queued-resources"]}[kind]
    assert result.stdout.count("== deleting the") == len(deleted)
    assert result.stdout.count("== no ") == 2 - len(deleted)


def test_down_does_not_take_an_error_for_absence(cloud):
    result = cloud.run(*PLACE, "--down", world={"describe_errors": ["UNAVAILABLE: try later"]})
    assert "cannot tell whether there is" in error_line(result)


OPTION_MISTAKES = [
    (["--zone=z", "--type=v6e-8", "--"], "--name="),
    (["--name=Uni", "--zone=z"], "--name=Uni"),
    (["--name=uni", "--type=v6e-8"], "--zone is missing"),
    ([*PLACE, "--", *ARGUMENTS], "--type is missing"),
    ([*PLACE, "--type=v9-8", "--", *ARGUMENTS], "--type=v9-8 has no known runtime image"),
    ([*SLICE, "--spott"], "unknown option --spott"),
    ([*SLICE, "--name"], "--name needs a value"),
    ([*SLICE, "--zone="], "--zone needs a value"),
    ([*SLICE, "--slices=two"], "--slices=two"),
    ([*SLICE, "--spot", "--reserved"], "--spot or --reserved"),
    ([*SLICE, "--env=A"], "--env needs NAME=VALUE"),
    ([*SLICE, *ARGUMENTS], "come after --"),
    ([*SLICE, "--", "--workdir=gs://b/r"], "--config of the run is missing"),
    ([*SLICE, "--", "--config=c.py"], "--workdir of the run is missing"),
    ([*SLICE, "--", "--config=c.py", "--workdir", "runs/a"], "--workdir=runs/a would lie"),
]


def test_mistake_in_the_options_is_one_line(cloud):
    for arguments, message in OPTION_MISTAKES:
        assert message in error_line(cloud.run(*arguments)), arguments
    assert cloud.calls() == []


def test_mounted_workdir_is_possible(cloud):
    result = cloud.run(*SLICE, "--dry_run", "--", "--config=c.py", "--workdir=/mnt/fs/run")
    assert result.returncode == 0 and "note: --workdir=/mnt/fs/run" in result.stdout


def test_version_follows_the_type(cloud):
    text = (cloud.machine.repository / "launch" / "README.md").read_text()
    rows = [line.split("`")[1::2] for line in text.splitlines() if line.startswith("| v")]
    assert len(rows) == 4
    for kind, version in rows:
        arguments = (*PLACE, f"--type={kind}", "--dry_run", "--", *ARGUMENTS)
        assert f"--version={version} " in cloud.run(*arguments).stdout
