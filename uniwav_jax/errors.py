"""The one exception that stands for a user's mistake, and how a tool ends on it."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input: the message is one line that names the file, field or shape and what to do.

    `main` and the tools print it without a traceback and exit with status 2.
    """


def run_tool(main: Callable[[list[str]], int]) -> None:
    """Run a tool's `main(argv)` and exit with its status; a `UserError` is one line, status 2."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
