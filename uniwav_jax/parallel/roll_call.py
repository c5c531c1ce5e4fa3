"""The roll call: before JAX connects the processes, all of them report to the coordinator's port.

If a process is missing, JAX itself aborts the interpreter and names the process only in the log of
process 0; it does not distinguish a wrong NNODES or a repeated rank from a slow start.
"""

import asyncio
import contextlib
import errno
import json
import os
import socket
import time

from uniwav_jax.errors import LostProcessError, UserError

NOTICE = 10.0  # seconds of waiting after which process 0 prints which processes are missing
LOOK = 0.2  # seconds between two counts of the connected processes
AGAIN = 2.0  # seconds that a process waits until an earlier one with its index has ended


def roll_call(address: str, count: int, index: int, seconds: float) -> None:
    """Return when processes 0 ... count - 1 have all connected to process 0.

    Args:
        address: host:port of process 0.
        count: number of processes.
        index: number of this process.
        seconds: time limit.

    Raises:
        UserError: two processes have the same index, or they disagree about the count.
        LostProcessError: processes are missing after `seconds`; every connected process raises it
            with their indices.
    """
    if index == 0:
        outcome = asyncio.run(_serve(address, count, seconds))
    else:
        outcome = _connect(address, count, index, seconds)
    if "mistake" in outcome:
        raise UserError(outcome["mistake"])
    if "missing" in outcome:
        raise LostProcessError(outcome["missing"])


async def _serve(address: str, count: int, seconds: float) -> dict[str, str]:
    """Process 0: wait for the others, then send each the outcome.

    Returns:
        {}, {"mistake": message} or {"missing": message}.
    """
    present = {0: socket.gethostname()}
    outcome = asyncio.get_running_loop().create_future()
    meetings = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meetings.add(asyncio.current_task())
        try:
            index, theirs, host = json.loads(await reader.readline())
        except (ValueError, TypeError):  # another program, such as a port scanner
            writer.close()
            return
        if index in present:
            await asyncio.wait({outcome}, timeout=AGAIN)
        if not outcome.done() and theirs != count:
            mistake = f"process {index} ({host}) expects {theirs} processes, process 0 {count}"
            outcome.set_result({"mistake": f"{mistake}; start all with the same NNODES"})
        elif not outcome.done() and index in present:
            mistake = f"two processes have index {index}, on {present[index]} and on {host}"
            outcome.set_result({"mistake": f"{mistake}; give each a NODE_RANK of its own"})
        else:
            present[index] = host
        left = asyncio.ensure_future(reader.read())
        await asyncio.wait({left, outcome}, return_when=asyncio.FIRST_COMPLETED)
        if outcome.done():
            writer.write(json.dumps(outcome.result()).encode() + b"\n")
            with contextlib.suppress(OSError):  # the process did not wait for the outcome
                await writer.drain()
        else:
            del present[index]  # the process ended early; it may be started again
        left.cancel()
        writer.close()

    began = time.monotonic()
    server = await _listen(meet, address, began + seconds)
    printed = full = False
    while not outcome.done() and time.monotonic() < began + seconds:
        await asyncio.wait({outcome}, timeout=LOOK)
        if full and len(present) == count and not outcome.done():
            outcome.set_result({})
        # Two counts in a row must be complete, because a process may just have ended.
        full = len(present) == count
        if not full and not printed and time.monotonic() > began + NOTICE:
            print(f"waiting for {_missing(present, count)} at {address}", flush=True)
            printed = True
    # Close the port before the answers, so that no process mistakes it for JAX's.
    server.close()
    if not outcome.done():
        who = _missing(present, count)
        outcome.set_result({"missing": f"{who} did not connect to {address} in {seconds:g} s"})
    if meetings:
        await asyncio.wait(meetings, timeout=5)
    return outcome.result()


async def _listen(meet, address: str, deadline: float) -> asyncio.Server:  # noqa: ANN001
    """Listen at the port of `address`, once it is free."""
    port = int(os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", address).rpartition(":")[2])
    while True:
        try:
            return await asyncio.start_server(meet, port=port, backlog=1024)
        except OSError as error:
            # Process 0 of an earlier run may still be ending.
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise UserError(f"process 0 cannot listen at port {port} ({error})") from error
        await asyncio.sleep(0.5)


def _connect(address: str, count: int, index: int, seconds: float) -> dict[str, str]:
    """Every other process: connect to process 0 and wait for the outcome, as from `_serve`."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
                connection.settimeout(seconds + 10)  # process 0 may have started only now
                connection.sendall(json.dumps([index, count, socket.gethostname()]).encode())
                connection.sendall(b"\n")
                return json.loads(connection.makefile().readline())
        # Process 0 has not started yet or has ended, or another program uses the port.
        except (OSError, ValueError) as error:
            reason = str(error) if isinstance(error, OSError) else "another program answers"
        if time.monotonic() > deadline:
            return {
                "missing": f"process 0 was not reached at {address} in {seconds:g} s ({reason})"
            }
        time.sleep(0.2)


def _missing(present: dict[int, str], count: int) -> str:
    """The indices of missing processes, at most eight, as in "processes 1, 2 of 4"."""
    missing = [index for index in range(count) if index not in present]
    names = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
    return f"process{'es' if len(missing) > 1 else ''} {names} of {count}"
