"""Exceptions whose message is shown in one line without a traceback, and how commands use them."""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator

# The disk is full, over quota, limited, read-only or broken; the path belongs to another user, or
# there is a file where a folder is expected.
DISK = "ENOSPC EDQUOT EFBIG EROFS EIO EACCES EPERM EEXIST ENOTDIR".split()


class UserError(Exception):
    """Bad input: the message is one line that names the file, field or shape and what to do.

    Training and commands print it without a traceback and exit with its status.
    """

    status = 2


class MachineError(UserError):
    """The machine failed and the user did nothing wrong, so the run may be restarted as it is."""

    status = 1


class LostProcessError(MachineError):
    """Another process of the run ended, hangs or cannot be reached; the message names it."""


@contextlib.contextmanager
def disk_errors(folder: str) -> Iterator[None]:
    """Turn disk errors that only the user can correct into a `UserError`.

    Args:
        folder: the folder that the message names if the error itself names no file.

    Raises:
        UserError: an `OSError` with one of the codes in `DISK`; other errors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if errno.errorcode.get(error.errno) not in DISK:
            raise
        place = error.filename or f"a file in {folder}"
        raise UserError(
            f"{place}: {error.strerror}; correct that, and the same command continues"
        ) from error


def run_tool(main: Callable[[list[str]], int]) -> None:
    """Run `main(argv)` and exit with its status; a `UserError` is printed as one line."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
