"""The exceptions that end in one line, and how a tool ends on them."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input: the message is one line that names the file, field or shape and what to do.

    `main` and the tools print it without a traceback and exit with its status.
    """

    status = 2


class MachineError(UserError):
    """The machine failed, not its user: whoever restarts runs on failure may start it again."""

    status = 1


class LostProcessError(MachineError):
    """Another process of the run is gone, stuck or out of reach; the message names it."""


def run_tool(main: Callable[[list[str]], int]) -> None:
    """Run a tool's `main(argv)` and exit with its status; a `UserError` is one line."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
