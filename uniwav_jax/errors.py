"""The exceptions that stand for a user's mistake and a lost process, and how a tool ends."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input: the message is one line that names the file, field or shape and what to do.

    `main` and the tools print it without a traceback and exit with status 2.
    """


class LostProcessError(Exception):
    """Another process of the run is gone, stuck or out of reach: nobody's mistake here.

    The message is one line that names it; `main` prints it and exits with status 1, a crash's.
    """


def run_tool(main: Callable[[list[str]], int]) -> None:
    """Run a tool's `main(argv)` and exit with its status; a `UserError` is one line, status 2."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
