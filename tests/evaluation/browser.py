"""Chromium without a window, controlled through pipes by its DevTools protocol."""

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

PROGRAMS = "chromium chromium-headless-shell chromium-browser google-chrome chrome".split()
PATIENCE = 60  # seconds until an answer


class Tab:
    """A page that is open.

    Attributes:
        requests: addresses of all that it asked for, without data URIs.
        complaints: texts of errors in its console.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._read, self._count = commands, answers, b"", 0
        self._session: dict[str, str] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result."""
        self._count += 1
        command = {"id": self._count, "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._count:
                assert "error" not in message, message
                return message["result"]
            address = message.get("params", {}).get("request", {}).get("url", "data:")
            if not address.startswith("data:"):
                self.requests.append(address)
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(message["params"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, *_ = select.select([self._answers], [], [], PATIENCE)
            assert ready, f"the browser has not answered for {PATIENCE} s"
            block = os.read(self._answers, 1 << 20)
            assert block, "the browser ended"
            self._read += block
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)

    def open(self, page: pathlib.Path | str, *, width: int, dark: bool = False) -> None:
        """Open a file or an address in a window of a width in CSS pixels, and await its loading."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        address = page if isinstance(page, str) else page.resolve().as_uri()
        self.call("Page.navigate", url=address)
        self.run(
            "new Promise(done => document.readyState === 'complete' ? done()"
            " : addEventListener('load', () => done()))"
        )

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript, awaited."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        result = self.call("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str, *, seconds: float = PATIENCE) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"not within {seconds} s: {script}"
            time.sleep(0.05)
        return value

    def upload(self, selector: str, path: pathlib.Path) -> None:
        """Choose a file in an element for files, as soon as it is there."""
        self.wait(f"document.querySelector({selector!r}) != null")
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        options = {"files": [str(path)], "objectId": found["result"]["objectId"]}
        self.call("DOM.setFileInputFiles", **options)

    def picture(self, path: pathlib.Path) -> None:
        """Save the whole page as a PNG file."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser(folder: pathlib.Path) -> Iterator[Tab]:
    """A browser whose files lie in a folder; the test is skipped where none is installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()

    def connect() -> None:  # the browser reads commands from 3 and answers to 4
        os.dup2(os.dup(read_commands), 3)
        os.dup2(os.dup(write_answers), 4)

    options = "--headless --no-sandbox --disable-gpu --no-first-run --mute-audio".split()
    process = subprocess.Popen(
        [program, *options, "--remote-debugging-pipe", f"--user-data-dir={folder}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=connect,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Tab(commands, answers)
    finally:
        os.close(commands)  # which ends it
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        os.close(answers)
