"""Substitute for gcloud, put on PATH as an executable: a small cloud in the folder $CLOUD.

world.json describes the existing resources and the faults; every call is a line in calls.jsonl. A
worker is a home folder in which the commands sent to it really run.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import sys

CLOUD = pathlib.Path(os.environ["CLOUD"])


@contextlib.contextmanager
def world():
    """The world's state, whose changes are written. Calls for several slices run concurrently."""
    with open(CLOUD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.loads((CLOUD / "world.json").read_text())
        try:
            yield state
        finally:
            (CLOUD / "world.json").write_text(json.dumps(state))


def fail(message: str, status: int = 1):
    print(f"ERROR: (gcloud.{'.'.join(words[:4])}) {message}", file=sys.stderr)
    sys.exit(status)


def home(node: str, worker: int) -> pathlib.Path:
    return CLOUD / "workers" / node / str(worker)


def nodes_of(resource: str) -> list[str]:
    count = options.get("node-count")
    prefix = options.get("node-prefix")
    return [f"{prefix}-{i}" for i in range(int(count))] if count else [resource]


def create(state: dict) -> None:
    if state["create_errors"]:
        message = state["create_errors"].pop(0)
        if message:
            fail(message)
    nodes = nodes_of(name)
    state["resources"][f"{kind} {name}"] = {
        "states": state["waiting"].pop(0) if state["waiting"] else [],
        "nodes": nodes,
    }
    for node in nodes:
        for worker in range(state["workers"]):
            home(node, worker).mkdir(parents=True)
    print(f"Create request issued for: [{name}]", file=sys.stderr)


def delete(state: dict) -> None:
    import shutil  # each call is a process, so rarely used modules are imported late
    import signal

    if kind == "queued-resources" and "force" not in options:
        fail("FAILED_PRECONDITION: the queued resource has nodes")
    resource = state["resources"].pop(f"{kind} {name}", None)
    if resource is None:
        fail(f"NOT_FOUND: Resource '{name}' was not found")
    for node in resource["nodes"]:
        for worker in range(state["workers"]):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                keeper = int((home(node, worker) / "uniwav_job" / "keeper").read_text())
                os.killpg(keeper, signal.SIGKILL)
        shutil.rmtree(CLOUD / "workers" / node)


def describe(state: dict) -> None:
    if state["describe_errors"]:
        fail(state["describe_errors"].pop(0))
    resource = state["resources"].get(f"{kind} {name}")
    if resource is None:
        fail(f"NOT_FOUND: Resource '{name}' was not found")
    ready = "READY" if kind == "tpu-vm" else "ACTIVE"
    if (CLOUD / "preempted").exists():
        (CLOUD / "preempted").unlink()
        ready = "PREEMPTED" if kind == "tpu-vm" else "SUSPENDED"
        resource["states"] = [ready] * 9
    answer = resource["states"].pop(0) if resource["states"] else ready
    print(answer if kind == "tpu-vm" or "\t" in answer else f"{answer}\t")  # followed by the reason


def reach(node: str) -> list[int]:
    """The workers that a command reaches; exits with ssh's status if one of them is down."""
    with world() as state:
        number = state["workers"]
        workers = list(range(number)) if options["worker"] == "all" else [int(options["worker"])]
        for worker in workers:
            left = state["down"].get(f"{node}/{worker}", 0)
            if left:
                state["down"][f"{node}/{worker}"] = left - 1
                fail(f"[/usr/bin/ssh] exited with return code [255] (worker {worker}).", 255)
            if not home(node, worker).is_dir():
                fail("This TPU has terminal state")
    return workers


def ssh(node: str) -> None:
    import subprocess

    statuses = []
    for worker in reach(node):
        with world() as state:
            environment = {
                **os.environ,
                "HOME": str(home(node, worker)),
                "HOSTNAME": f"{node}-w{worker}",
                "WORKER": str(worker),
                "ATTEMPTS": str(CLOUD / f"attempts-{node}-{worker}"),
                "JOBS": "\n".join(state["jobs"] if worker == 0 else state["other_jobs"]),
            }
            cut = state["cuts"].pop(0) if " follow " in options["command"] and state["cuts"] else 0
        process = subprocess.Popen(
            [os.environ["BASH_PROGRAM"], "-c", options["command"]],
            cwd=home(node, worker),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if cut else None,
            text=True,
        )
        if cut:  # the connection breaks after some lines, while the run continues
            for _ in range(cut):
                print(process.stdout.readline(), end="", flush=True)
            process.kill()
            (CLOUD / "cut").touch()
            fail("[/usr/bin/ssh] exited with return code [255].", 255)
        statuses.append(process.wait())
    sys.exit(max(statuses))


def scp(source: str, target: str) -> None:
    import shutil

    node, _, path = target.partition(":")
    for worker in reach(node):
        shutil.copy(source, home(node, worker) / path)


words = [word for word in sys.argv[1:] if not word.startswith("--")]
options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
with open(CLOUD / "calls.jsonl", "a") as calls:
    calls.write(json.dumps(["gcloud", *sys.argv[1:]]) + "\n")
assert words[:2] == ["compute", "tpus"] and options["zone"] and "quiet" in options, sys.argv
kind, verb, name = words[2:5]
if verb == "ssh":
    ssh(name)
elif verb == "scp":
    scp(name, words[5])
else:
    with world() as shared:
        {"create": create, "delete": delete, "describe": describe}[verb](shared)
