"""launch/tpu_run.sh: a run from start to end, options, stopping and deleting."""

import os
import shlex

import pytest

from tests.launch.cloud import ARGUMENTS, PLACE, PREPARE, RUN, SLICE, short, shown
from tests.launch.conftest import BASH, REPOSITORY, error_line, finish


def test_first_run_creates_prepares_and_trains_like_its_dry_run(cloud):
    dry = cloud.run(*SLICE, "--dry_run", "--delete_when_done", "--", *ARGUMENTS)
    assert dry.returncode == 0 and cloud.calls() == [] and cloud.resources() == []
    printed = [shlex.split(line, comments=True) for line in dry.stdout.splitlines()]
    printed = [words for words in printed if words]

    arguments = (*SLICE, "--delete_when_done", "--", *ARGUMENTS)
    # Worker 0 ends last, because the slice with the job of worker 1 is deleted right after it.
    jobs = {"jobs": ["step-1 @other 0"], "other_jobs": ["+other 0"]}
    result = cloud.run(*arguments, world={"workers": 2, **jobs})
    assert result.returncode == 0, result.stderr
    calls = cloud.calls()
    scp = next(words for words in printed if "scp" in words)  # the archive's name differs
    scp[5] = next(call for call in calls if short(call) == "scp")[5]
    assert [words for words in printed if words[0] == "gcloud"] == calls
    git = [words for words in printed if words[0] != "gcloud"]
    assert len(git) == 1 and git[0][-1] == "HEAD" and printed.index(git[0]) == 4
    steps = "describe create describe state scp prepare start follow delete"
    assert " ".join(short(call) for call in calls) == steps
    assert calls[1][4:] == [
        *("create", "uni", "--version=v2-alpha-tpuv6e", "--zone=us-east5-a", "--quiet"),
        "--accelerator-type=v6e-16",
    ]
    for call in cloud.machine.entry_points(2):
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
    cloud.machine.entry_points(2)


def test_uv_is_installed_if_python_is_old(cloud):
    (cloud.machine.bin / "uv").unlink()
    cloud.machine.program("sh", f'exec {BASH} "$@"')
    cloud.machine.program("curl", 'case "$*" in *astral*) echo "touch ~/got-uv" ;; esac')
    assert cloud.run(*RUN).returncode == 0
    assert (cloud.folder / "workers/uni/0/got-uv").exists()


def test_variables_reach_the_workers(cloud):
    result = cloud.run(*SLICE, "--env=LIBTPU_INIT_ARGS=--mine --two", "--", *ARGUMENTS)
    assert result.returncode == 0, result.stderr
    for call in cloud.machine.entry_points(1):
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


def test_launches_do_not_share_the_archive(cloud):
    """Slices of two zones may have one name, and each script deletes its archive at its end."""
    archives = set()
    for zone in ("a", "b"):
        place = ("--name=uni", f"--zone={zone}", "--type=v6e-16")
        assert cloud.run(*place, "--", *ARGUMENTS).returncode == 0
        archives |= {call[5] for call in cloud.calls() if short(call) == "scp"}
    assert len(archives) == 2 and not any(os.path.exists(archive) for archive in archives)


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
        names = [node.partition(":")[0] for node in nodes]
        if step == "state":  # a slow machine asks again
            names = sorted(set(names))
        assert names == ["uni-0", "uni-1"], step
    follow = [call for call in calls if short(call) == "follow"]
    assert len(follow) == 1 and follow[0][5:7] == ["uni-0", "--worker=0"]
    cloud.machine.entry_points(2)


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


def test_down_does_not_treat_an_error_as_absence(cloud):
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
    ([*SLICE, "--", "--config=c.py", "--workdir", "runs/a"], "--workdir=runs/a would be"),
]


def test_mistake_in_the_options_is_one_line(cloud):
    for arguments, message in OPTION_MISTAKES:
        assert message in error_line(cloud.run(*arguments)), arguments
    assert cloud.calls() == []


def test_mounted_workdir_is_possible(cloud):
    result = cloud.run(*SLICE, "--dry_run", "--", "--config=c.py", "--workdir=/mnt/fs/run")
    assert result.returncode == 0 and "note: --workdir=/mnt/fs/run" in result.stdout


def test_version_follows_the_type(cloud):
    text = (REPOSITORY / "docs" / "launching.md").read_text()
    rows = [line.split("`")[1::2] for line in text.splitlines() if line.startswith("| v")]
    assert len(rows) == 4
    for kind, version in rows:
        arguments = (*PLACE, f"--type={kind}", "--dry_run", "--", *ARGUMENTS)
        assert f"--version={version} " in cloud.run(*arguments).stdout
