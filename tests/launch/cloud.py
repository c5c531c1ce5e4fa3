"""A cloud behind gcloud for the tests of tpu_run.sh, whose workers really run their commands."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

from tests.launch.conftest import BASH, Machine, finish

PLACE = ("--name=uni", "--zone=us-east5-a")
SLICE = (*PLACE, "--type=v6e-16")
ARGUMENTS = ("--config=configs/a b.py", "--workdir=gs://bucket/r", "--config.data.buckets=(2,4)")
RUN = (*SLICE, "--", *ARGUMENTS)
NO_CAPACITY = 'Error code 8, message: There is no more capacity in the zone "us-east5-a"'
NO_QUOTA = "Quota limit 'TPUV6EPerProjectPerZoneForTPUAPI' has been exceeded. Limit: 0 in zone."
DONE = "step-1 0"
PREPARE = "scp prepare start"  # the steps on the workers before the job's log is followed


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
        """Start the script without changing the state of the world."""
        seconds = {"UNIWAV_POLL": "0.05", "UNIWAV_CAPACITY_POLL": "0.05"}
        settings = {"CLOUD": str(self.folder), "BASH_PROGRAM": BASH, "UNIWAV_EXTRA": "cpu"}
        environment = {**settings, **seconds, **environment}
        return self.machine.start("tpu_run.sh", *arguments, **environment)

    def run(self, *arguments: str, world: dict | None = None, **environment: str):
        return finish(self.start(*arguments, world=world, **environment))

    def calls(self) -> list[list[str]]:
        """The arguments of gcloud's calls since the last time."""
        file = self.folder / "calls.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def steps(self) -> str:
        """The calls since the last time, with one word for each."""
        return " ".join(short(call) for call in self.calls())

    def resources(self) -> list[str]:
        return list(json.loads((self.folder / "world.json").read_text())["resources"])

    def end_jobs(self) -> None:
        for keeper in self.folder.glob("workers/*/*/uniwav_job/keeper"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(keeper.read_text()), signal.SIGKILL)


def short(call: list[str]) -> str:
    """A word for a call: the verb, or for ssh the action on the worker."""
    if call[4] != "ssh":
        return call[4]
    command = call[-1]
    for word in ("state", "follow", "stop", "start"):
        if f"detached.sh {word}" in command:
            return word
    return "prepare"


def shown(result: subprocess.CompletedProcess) -> list[str]:
    """The lines of the job's log."""
    return [line for line in result.stdout.splitlines() if line.startswith("step")]
