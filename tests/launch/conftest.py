"""A machine for the launchers: a copy of the repository with an interpreter that records calls.

The substitute interpreter answers `-c` with the real Python and records all other calls,
of pip, tools and the entry point, each with its environment variables.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path.name for path in (REPOSITORY / "launch").iterdir() if path.suffix in (".sh", ".sbatch")
)
# The programs that the scripts call besides bash. PATH has no others, and no other Python.
PROGRAMS = (
    "basename cat curl cut date dirname env find flock git grep gzip head ls md5sum mkdir mkfifo"
    " mktemp mv realpath rm sed setsid sha256sum sleep tail tar tee touch tr true wc"
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
        out.write_text("made") if out.suffix else out.mkdir(parents=True, exist_ok=True)
script = "uniwav_jax.main" if "uniwav_jax.main" in arguments else os.path.basename(arguments[0])
status = json.loads(os.environ.get("EXITS", "{{}}")).get(script, 0)
sys.exit(signal.pause() if status == "SIGTERM" else status)
"""


# The interpreter of a remote machine, faster than RECORDER. JOBS has a line for each start of the
# entry point, with words: @NAME waits for a file in $CLOUD, +NAME creates one, a number is the exit
# status, and other words are printed.
WORKER_PYTHON = """
case "$1 $2" in
-c\\ *platform*) echo 3.12.0 ;;
-m\\ uniwav_jax.main)
  printf '%s\\0' "$LIBTPU_INIT_ARGS" \\
    "$JAX_COORDINATOR_ADDRESS $NNODES $NODE_RANK" "$@" $'\\n' >>"$CLOUD/entry_points"
  echo >>"$ATTEMPTS"
  mapfile -t jobs <<<"$JOBS"
  mapfile -t attempts <"$ATTEMPTS"
  attempt=$((${#attempts[@]} - 1))
  for step in ${jobs[attempt < ${#jobs[@]} ? attempt : -1]}; do
    case "$step" in
    @*) until [ -e "$CLOUD/${step#@}" ]; do sleep 0.05; done ;;
    +*) touch "$CLOUD/${step#+}" ;;
    [0-9]*) exit "$step" ;;
    *) echo "$step" ;;
    esac
  done
  ;;
esac
"""


class Machine:
    """A machine with this repository, an installed environment and only the programs it needs."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.repository, self.bin, self.venv = (folder / n for n in ("repository", "bin", "venv"))
        self.calls_file, self.cloud = folder / "calls.jsonl", folder / "cloud"
        shutil.copytree(REPOSITORY / "launch", self.repository / "launch")
        shutil.copy(REPOSITORY / "setup.py", self.repository)
        self.processes = []
        (folder / "home").mkdir()
        self.bin.mkdir()
        (self.bin / "bash").symlink_to(BASH)
        for name in PROGRAMS.split():
            (self.bin / name).symlink_to(shutil.which(name))

    def program(self, path: str | pathlib.Path, text: str) -> None:
        """Write a program on PATH or at an absolute path, in bash unless `text` has a #! line."""
        path = self.bin / path
        path.unlink(missing_ok=True)
        path.write_text(text if text.startswith("#!") else f"#!{BASH}\n{text}\n")
        path.chmod(0o755)

    def make_venv(self) -> None:
        command = [sys.executable, "-m", "venv", "--without-pip", str(self.venv)]
        subprocess.run(command, check=True)
        self.program(self.venv / "bin" / "python", RECORDER)

    def make_worker_venv(self) -> None:
        python = self.venv / "bin" / "python"
        python.parent.mkdir(parents=True)
        self.program(python, WORKER_PYTHON)
        (python.parent / "activate").write_text(f"PATH={python.parent}:$PATH\n")

    def entry_points(self, count: int) -> list[list[str]]:
        """Starts of the entry point by WORKER_PYTHON: two values of variables, then arguments.

        It waits for `count` of them, because only the followed job is sure to have started.
        """
        deadline = time.monotonic() + 30
        while True:
            calls = (self.cloud / "entry_points").read_text().split("\0\n\0")[:-1]
            if len(calls) >= count or time.monotonic() > deadline:
                assert len(calls) == count, calls
                return [call.split("\0") for call in calls]
            time.sleep(0.02)

    def wait_for(self, name: str, process: subprocess.Popen) -> None:
        """Wait until the cloud's folder has a file of that name."""
        deadline = time.monotonic() + 30
        while not (self.cloud / name).exists():
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.02)

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
        process = subprocess.Popen(
            command,
            env=clean,
            cwd=self.folder,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
            # A test that runs in the background would pass on an ignored SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.processes.append(process)
        return process

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return finish(self.start(script, *arguments, **environment))

    def calls(self) -> list[dict]:
        """The calls of the interpreter since the last time."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.unlink()
        return [json.loads(line) for line in lines]


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    out, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


@pytest.fixture
def machine(tmp_path) -> Machine:
    machine = Machine(tmp_path)
    yield machine
    for process in machine.processes:
        if process.poll() is None:  # the test failed
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def ready(machine) -> Machine:
    """A machine with an environment that can import pip, answered by the real interpreter."""
    machine.make_venv()
    return machine


def error_line(result: subprocess.CompletedProcess) -> str:
    """The single error line of a run that ended with status 2."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2 and len(errors) == 1, result
    return errors[0]


@pytest.fixture(scope="module")
def git(tmp_path_factory) -> pathlib.Path:
    """The git objects of a commit of the machine's repository."""
    repository = Machine(tmp_path_factory.mktemp("commit")).repository
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=a"], check=True)
    shutil.rmtree(repository / ".git" / "hooks", ignore_errors=True)
    return repository / ".git"


@pytest.fixture
def cloud(machine, git):
    from tests.launch.cloud import Cloud  # it imports this module

    cloud = Cloud(machine, git)
    yield cloud
    cloud.end_jobs()
