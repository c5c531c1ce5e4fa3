"""Entry point for CPU, GPU and TPU.

    uniwav train --config=NAME --workdir=DIR

is the same as `python -m uniwav_jax.main ...`. NAME is the name of a config that is installed with
the package, or the path of a Python file that defines get_config(). The same command continues an
interrupted run. Any config field can be set on the command line: `--config.train.steps=1000`.
"""

import contextlib
import os
import sys
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from uniwav_jax import config as config_lib
from uniwav_jax.config import recipes
from uniwav_jax.errors import UserError, disk_errors

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "name or path of a config; :ARGUMENT after it is passed to its get_config()"
)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run; it may be a gs:// address")


def main(argv: list[str]) -> None:
    """Turn the flags into a configuration and train.

    A `UserError` is printed as one line, and its status becomes the exit status. If one of several
    processes fails, all of them end with its message and status.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax and JAX print a lot at INFO
    try:
        if not CONFIG.value or not WORKDIR.value:
            names = ", ".join(recipes.names())
            raise UserError(f"give --workdir=DIR and --config=NAME or PATH; names are: {names}")
        config = config_lib.from_dict(CONFIG.value)
        # Importing the loop imports JAX, so mistakes in the flags are reported before it.
        from uniwav_jax.parallel.group import together
        from uniwav_jax.train import lock, loop

        with (
            together(config.mesh.wait_seconds) as group,
            disk_errors(WORKDIR.value),
            lock.held(WORKDIR.value) if group.index == 0 else contextlib.nullcontext(),
        ):
            finished = loop.run(config, WORKDIR.value, group)
    except UserError as error:
        _fail(str(error), error.status)
    if not finished:
        sys.exit(143)  # preempted after saving: a nonzero status makes schedulers restart the run


def parse_flags(argv: list[str]) -> list[str]:
    """Parse flags as Absl does, but report a mistake in the config in one line and exit."""
    try:
        return flags.FLAGS(recipes.with_paths(argv))
    except UserError as error:
        _fail(str(error), error.status)
    except (AttributeError, KeyError) as error:
        for argument in argv:
            key = argument.lstrip("-").split("=")[0]
            if key.startswith("config."):
                _check_key(argv, key)
        _fail(str(error))
    except (flags.Error, FileNotFoundError, TypeError, ValueError) as error:
        _fail(str(error).splitlines()[0])


def _check_key(argv: list[str], key: str) -> None:
    node = config_lib.default_config().to_dict()
    for part in key.split(".")[1:]:
        if not isinstance(node, dict) or part not in node:
            known = node if isinstance(node, dict) else ()
            hint = config_lib.did_you_mean(part, known)
            _fail(f"unknown config key '{key}'{hint}")
        node = node[part]


def _fail(message: str, status: int = 2) -> NoReturn:
    with contextlib.suppress(OSError):  # the log itself may be on a full disk
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)
    # The loop has closed its files. An orderly exit would let Orbax's threads print errors.
    os._exit(status)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
