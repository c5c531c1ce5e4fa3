"""Exceptions whose message is one line."""

import errno

import pytest

from uniwav_jax.errors import MachineError, UserError, disk_errors, run_tool


@pytest.mark.parametrize(("error", "status"), [(UserError("a"), 2), (MachineError("a"), 1)])
def test_a_tool_ends_with_the_errors_status(error, status, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    assert ended.value.code == status and capsys.readouterr().err == "error: a\n"
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda argv: 3)
    assert ended.value.code == 3


def test_only_errors_that_a_user_can_repair_become_messages():
    with pytest.raises(UserError, match="/full: No space left"), disk_errors("/somewhere"):
        raise OSError(errno.ENOSPC, "No space left on device", "/full")
    with pytest.raises(UserError, match="a file in /somewhere"), disk_errors("/somewhere"):
        raise OSError(errno.EIO, "Input/output error")
    with pytest.raises(FileNotFoundError), disk_errors("/somewhere"):
        raise FileNotFoundError(errno.ENOENT, "No such file", "/none")
