"""One training at a time in a working directory, because two would write the same files."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

from uniwav_jax.errors import UserError

NAME = ".lock"


@contextlib.contextmanager
def held(workdir: str) -> Iterator[None]:
    """Hold the lock of a local working directory, which is created if missing.

    The system frees the lock when the process ends, however it ends. Buckets (gs://) and file
    systems without locks are not protected.

    Args:
        workdir: folder of the run.

    Raises:
        UserError: another process holds the lock.
    """
    if "://" in workdir:
        yield
        return
    path = pathlib.Path(workdir) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise UserError(
                f"{workdir} is in use by another training ({file.read() or 'of unknown number'});"
                " wait until it has ended, or choose another --workdir"
            ) from error
        except OSError:
            pass  # there are no locks here
        else:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        yield
