"""Entry point for CPU, GPU and TPU.

    python -m uniwav_jax.main --config=configs/X.py --workdir=DIR

The same command continues a run. Any config field can be set: `--config.train.steps=1000`.
"""

import contextlib
import os
import sys
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from uniwav_jax import config as config_lib
from uniwav_jax.errors import UserError, disk_errors

CONFIG = config_flags.DEFINE_config_file("config", None, "file with get_config()")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run; may be gs://")


def main(argv: list[str]) -> None:
    """Flags to config to loop; a user's mistake ends in one line and exit status 2.

    Of several processes, all end when one fails: with its message and status.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax and JAX say a lot at INFO
    try:
        if not CONFIG.value or not WORKDIR.value:
            raise UserError("give --config=configs/NAME.py and --workdir=DIR")
        # configs/X.py:NAME gives get_config the argument NAME.
        file = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[0]
        if not os.path.isfile(file):
            raise UserError(f"--config={file}: no such file; see the folder configs/")
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
    """Absl's parsing, with the config's mistakes as one line."""
    try:
        return flags.FLAGS(argv)
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
    with contextlib.suppress(OSError):  # the disk that is full may be that of the log
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)
    # At once: the loop has closed its files, and an orderly end would let Orbax's threads complain.
    os._exit(status)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
