"""The roll call: before JAX connects them, all processes meet at the coordinator's port.

JAX's own start aborts the interpreter when a process does not come, names nobody outside process
0's log, and takes a wrong NNODES or a rank given twice for a slow start.
"""

import asyncio
import contextlib
import errno
import json
import os
import socket
import time

from uniwav_jax.errors import LostProcessError, UserError

NOTICE = 10.0  # seconds of waiting before process 0 says for whom
LOOK = 0.2  # seconds from one count of those present to the next
AGAIN = 2.0  # seconds in which a process may notice that the one before it with its index has ended


def roll_call(address: str, count: int, index: int, seconds: float) -> None:
    """Return when processes 0 ... count - 1 have all come to `address` (host:port of process 0).

    Raises:
        UserError: two processes have the same index, or they disagree about the count.
        LostProcessError: after `seconds`, naming who is missing; on all that are there.
    """
    if index == 0:
        verdict = asyncio.run(_preside(address, count, seconds))
    else:
        verdict = _attend(address, count, index, seconds)
    if "mistake" in verdict:
        raise UserError(verdict["mistake"])
    if "missing" in verdict:
        raise LostProcessError(verdict["missing"])


async def _preside(address: str, count: int, seconds: float) -> dict[str, str]:
    """Process 0: collect the others, then tell each what came of it."""
    present = {0: socket.gethostname()}
    verdict = asyncio.get_running_loop().create_future()
    meetings = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meetings.add(asyncio.current_task())
        try:
            index, theirs, host = json.loads(await reader.readline())
        except (ValueError, TypeError):  # a port scanner, not one of us
            writer.close()
            return
        if index in present:
            await asyncio.wait({verdict}, timeout=AGAIN)
        if not verdict.done() and theirs != count:
            mistake = f"process {index} ({host}) counts {theirs} processes, process 0 {count}"
            verdict.set_result({"mistake": f"{mistake}; start all with the same NNODES"})
        elif not verdict.done() and index in present:
            mistake = f"two processes have index {index}, on {present[index]} and on {host}"
            verdict.set_result({"mistake": f"{mistake}; give each a NODE_RANK of its own"})
        else:
            present[index] = host
        left = asyncio.ensure_future(reader.read())
        await asyncio.wait({left, verdict}, return_when=asyncio.FIRST_COMPLETED)
        if verdict.done():
            writer.write(json.dumps(verdict.result()).encode() + b"\n")
            with contextlib.suppress(OSError):  # it did not wait for the answer
                await writer.drain()
        else:
            del present[index]  # it ended before all were there; it may come again
        left.cancel()
        writer.close()

    began = time.monotonic()
    server = await _listen(meet, address, began + seconds)
    told = full = False
    while not verdict.done() and time.monotonic() < began + seconds:
        await asyncio.wait({verdict}, timeout=LOOK)
        if full and len(present) == count and not verdict.done():
            verdict.set_result({})
        full = len(present) == count  # twice in a row: nobody counts who has just ended
        if not full and not told and time.monotonic() > began + NOTICE:
            print(f"waiting for {_missing(present, count)} at {address}", flush=True)
            told = True
    server.close()  # before the answers: then nobody mistakes this port for JAX's
    if not verdict.done():
        who = _missing(present, count)
        verdict.set_result({"missing": f"{who} did not come to {address} in {seconds:g} s"})
    if meetings:
        await asyncio.wait(meetings, timeout=5)
    return verdict.result()


async def _listen(meet, address: str, deadline: float) -> asyncio.Server:  # noqa: ANN001
    port = int(os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", address).rpartition(":")[2])
    while True:
        try:
            return await asyncio.start_server(meet, port=port, backlog=1024)
        except OSError as error:
            # The process 0 of a run before this one may still be ending.
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise UserError(f"process 0 cannot listen at port {port} ({error})") from error
        await asyncio.sleep(0.5)


def _attend(address: str, count: int, index: int, seconds: float) -> dict[str, str]:
    """Every other process: come to process 0 and wait for its verdict."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
                connection.settimeout(seconds + 10)  # process 0 may have begun to wait only now
                connection.sendall(json.dumps([index, count, socket.gethostname()]).encode())
                connection.sendall(b"\n")
                return json.loads(connection.makefile().readline())
        except (OSError, ValueError) as error:  # not there yet, or ended, or another program
            reason = str(error) if isinstance(error, OSError) else "another program answers"
        if time.monotonic() > deadline:
            return {
                "missing": f"process 0 was not reached at {address} in {seconds:g} s ({reason})"
            }
        time.sleep(0.2)


def _missing(present: dict[int, str], count: int) -> str:
    missing = [index for index in range(count) if index not in present]
    names = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
    return f"process{'es' if len(missing) > 1 else ''} {names} of {count}"
