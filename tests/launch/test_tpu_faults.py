"""launch/tpu_run.sh: preemption, lost workers and connections, errors of gcloud and of the job."""

import json
import os
import shutil
import signal

import pytest

from tests.launch.cloud import (
    ARGUMENTS,
    DONE,
    NO_CAPACITY,
    NO_QUOTA,
    PREPARE,
    RUN,
    SLICE,
    short,
    shown,
)
from tests.launch.conftest import error_line, finish


@pytest.mark.parametrize("queued", [(), ("--queued",)])
def test_preempted_slice_is_created_again_and_the_run_continues(cloud, queued):
    jobs = ["step-1 +preempted 143", "step-2 0"]
    result = cloud.run(*SLICE, *queued, "--", *ARGUMENTS, world={"jobs": jobs})
    assert result.returncode == 0, result.stderr
    first = f"describe create describe state {PREPARE} follow"
    assert cloud.steps() == f"{first} describe describe delete {first}"
    assert shown(result) == ["step-1", "step-2"]
    assert ("uni is SUSPENDED" if queued else "uni is PREEMPTED") in result.stdout


def test_preempted_while_nothing_followed_the_job(cloud):
    cloud.run(*RUN)
    cloud.calls()
    (cloud.folder / "preempted").touch()
    assert finish(cloud.again(*RUN)).returncode == 0
    assert cloud.steps() == f"describe delete describe create describe state {PREPARE} follow"


def test_late_worker_is_waited_for(cloud):
    result = cloud.run(*RUN, world={"workers": 2, "down": {"uni/1": 3}})
    assert result.returncode == 0, result.stderr
    waits = "describe state " * 3
    assert cloud.steps() == f"describe create {waits}describe state {PREPARE} follow"
    assert "(try 3 of 5)" in result.stdout


def test_slice_with_a_dead_worker_is_created_again_and_then_the_run_ends(cloud):
    down = {"workers": 2, "down": {"uni/1": -1}}
    result = cloud.run(
        *SLICE, "--max_failures=2", "--", *ARGUMENTS, world=down, UNIWAV_SSH_TRIES="2"
    )
    line = error_line(result)
    assert "workers of uni do not answer" in line and "2 failures in a row" in line
    first = "describe create describe state describe state"
    assert cloud.steps() == f"{first} delete {first}"


def test_slice_that_never_answered_is_not_deleted(cloud):
    """The local ssh may be broken, and another user's job may run on the slice."""
    assert cloud.run(*RUN).returncode == 0
    cloud.calls()
    world = json.loads((cloud.folder / "world.json").read_text())
    result = cloud.run(*RUN, world={**world, "down": {"uni/0": -1}}, UNIWAV_SSH_TRIES="2")
    assert "no worker of uni ever answered" in error_line(result)
    assert "delete" not in cloud.steps()
    assert cloud.resources() == ["tpu-vm uni"]


def test_connection_that_breaks_during_the_start_stops_started_jobs(cloud):
    # Worker 1 answers the question and receives the code, then its start fails once.
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
def test_permanent_errors_stop(cloud, message, text):
    result = cloud.run(*RUN, world={"create_errors": [message]})
    assert text in error_line(result)
    assert message in result.stderr
    assert cloud.steps() == "describe create"


def test_no_capacity_is_waited_for_without_limit(cloud):
    errors = [NO_CAPACITY] * 6  # more than the number of failures allowed
    result = cloud.run(*RUN, world={"create_errors": errors})
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("no capacity for v6e-16 in us-east5-a") == 6
    assert cloud.steps().startswith("describe create " * 7 + "describe state")


def test_other_errors_of_creation_are_retried_a_few_times(cloud):
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
    # The first line is the header of detached.sh; then come two steps and the break.
    result = cloud.run(*RUN, world={"jobs": jobs, "cuts": [2, 1]})
    assert result.returncode == 0, result.stderr
    assert shown(result) == ["step-1", "step-2", "step-3", "step-4"]
    calls = cloud.calls()
    again = "describe state follow"
    steps = f"describe create describe state {PREPARE} follow {again} {again}"
    assert " ".join(short(call) for call in calls) == steps
    follows = [call[-1].split()[-1] for call in calls if short(call) == "follow"]
    assert follows == ["0", "2", "3"]  # it continues after the lines that were shown
    cloud.machine.entry_points(1)


def test_no_line_is_repeated_if_gcloud_repeats_the_command(cloud):
    """On a broken connection the real gcloud runs the same command again, up to ten times."""
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


def test_unreachable_gcloud_is_waited_for(cloud):
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
    """Worker 0 only reports that it lost its partner; the reason is in the other worker's log."""
    world = {"jobs": ["step-1 134"], "workers": 2, "other_jobs": ["error:no-such-file 2"]}
    result = cloud.run(*RUN, world=world)
    assert "a worker ended with status 2" in error_line(result)
    assert "uni-w1: error:no-such-file" in result.stdout
    assert "uni-w0: exit status 134" in result.stdout


def test_job_that_keeps_crashing_is_abandoned(cloud):
    result = cloud.run(*SLICE, "--max_failures=2", "--", *ARGUMENTS, world={"jobs": ["20"]})
    assert "the job ended with status 20; gave up after 2 failures" in error_line(result)
    crash = f"state {PREPARE} follow describe stop"
    assert cloud.steps() == "describe create" + f" describe {crash}" * 2
    assert "uni still exists and costs money" in result.stdout


def test_crashes_after_a_long_run_are_not_added_up(cloud):
    jobs = {"jobs": ["1", "1", DONE]}
    result = cloud.run(*SLICE, "--max_failures=2", "--", *ARGUMENTS, world=jobs, UNIWAV_SHORT="0")
    assert result.returncode == 0, result


def test_remains_of_a_crash_are_ended_before_the_next_start(cloud):
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
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
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
    cloud.machine.entry_points(2)
