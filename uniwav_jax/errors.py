"""The exceptions that end in one line, and how a command ends on them."""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator

# The disk is full, over quota, limited, read-only or broken; the path belongs to someone else, or a
# file stands where a folder is expected.
DISK = "ENOSPC EDQUOT EFBIG EROFS EIO EACCES EPERM EEXIST ENOTDIR".split()


class UserError(Exception):
    """Bad input: the message is one line that names the file, field or shape and what to do.

    Training and commands print it without a traceback and exit with its status.
    """

    status = 2


class MachineError(UserError):
    """The machine failed, not its user: what restarts failed runs may start this one again."""

    status = 1


class LostProcessError(MachineError):
    """Another process of the run is gone, stuck or out of reach; the message names it."""


@contextlib.contextmanager
def disk_errors(folder: str) -> Iterator[None]:
    """Turn errors of a disk that only the user can correct into a `UserError`.

    Args:
        folder: is named where the error itself names no file.
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
