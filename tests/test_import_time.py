"""Large packages are imported only when needed, measured by user seconds of new processes."""

import json
import os
import resource
import subprocess
import sys

# A bound in seconds for each command, and modules that the commands must not import.
IMPORT = ["-c", "import uniwav_jax"]
HELP = ["-m", "uniwav_jax.cli", "--help"]
BOUNDS = {"import uniwav_jax": (IMPORT, 0.15), "uniwav --help": (HELP, 0.3)}
HEAVY = "jax numpy flax orbax rich grain tensorflow_datasets soundfile ml_collections absl".split()


def user_seconds(arguments: list[str]) -> float:
    """The smallest user time of several runs, because other processes only increase it."""
    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        found.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
    return min(found)


def test_import_and_help_are_quick():
    measured = {name: user_seconds(arguments) for name, (arguments, _) in BOUNDS.items()}
    assert all(measured[name] <= bound for name, (_, bound) in BOUNDS.items()), measured


def test_import_and_help_load_no_large_package():
    program = (
        "import json, sys; import uniwav_jax; from uniwav_jax import cli; cli.main(['--help']);"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert not set(HEAVY) & set(loaded)
