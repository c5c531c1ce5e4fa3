"""Entry point for CPU, GPU and TPU.

    uniwav train --config=NAME --workdir=DIR

is the same as `python -m uniwav_jax.main ...`. NAME is a config that is installed with the package,
or the path of a file with get_config(). The same command continues a run. Any config field can be
set: `--config.train.steps=1000`.
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

CONFIG = config_flags.DEFINE_config_file("config", None, "name or path, and perhaps :ARGUMENT")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run; may be gs://")


def main(argv: list[str]) -> None:
    """Turn the flags into a configuration and train; a `UserError` is one line and its status.

    Of several processes, all end when one fails: with its message and status.
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
        # After the flags: importing the loop imports JAX.
        from uniwav_jax.parallel.group import together
        from uniwav_jax.train import loop

        with together(config.mesh.wait_seconds) as group, disk_errors(WORKDIR.value):
            finished = loop.run(config, WORKDIR.value, group)
    except UserError as error:
        _fail(str(error), error.status)
    if not finished:
        sys.exit(143)  # preempted: saved, and whoever restarts on failure starts it again


def parse_flags(argv: list[str]) -> list[str]:
    """Absl's parsing, with one line about a mistake in the config."""
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
    with contextlib.suppress(OSError):  # a full disk may be that of the log
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)
    # Immediately: the loop has closed its files, and on an orderly exit Orbax's threads complain.
    os._exit(status)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
