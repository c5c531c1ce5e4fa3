"""Writes metrics to workdir/metrics.jsonl and, for local workdirs, to workdir/tensorboard.

Alarms of the health check go to workdir/alarms.jsonl, {"step", "alarm": text} on each line.
"""

import json
import math
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

# tensorboardX imports torch and cloud clients where they are installed, for features that are not
# used here; torch alone takes two seconds. A module that is None counts as not installed.
_UNUSED = [name for name in ("torch", "boto3", "google.cloud") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_UNUSED))
try:
    from tensorboardX import summary
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
finally:
    for _name in _UNUSED:
        del sys.modules[_name]

REMOTE_FLUSH_LINES = 20  # object stores cannot append, so all lines are rewritten every 20 lines


def means(updates: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """Mean of each metric over the updates that were not skipped, and the share of skipped ones.

    An update is skipped when its loss or gradient is not finite. It changes nothing, so its metrics
    are left out, and one such update does not make the means of a line NaN.

    Args:
        updates: scalar metrics of each update, at least one; "skipped_in_a_row" is 0 in those that
            were not skipped.

    Returns:
        {name: mean of the finite values, NaN if there are none; "skipped_share": in [0, 1]}.
    """
    accepted = [values for values in updates if values["skipped_in_a_row"] == 0]
    line = {"skipped_share": (len(updates) - len(accepted)) / len(updates)}
    for name in updates[0]:
        numbers = np.array([values[name] for values in accepted], float)
        numbers = numbers[np.isfinite(numbers)]
        line[name] = float(np.mean(numbers)) if len(numbers) else math.nan
    return line


class MetricsWriter:
    """Writes lines of scalars, pictures and audio; does nothing when not `enabled`."""

    def __init__(self, workdir: str, *, enabled: bool) -> None:
        self._enabled = enabled
        if not enabled:
            return
        self._path = epath.Path(workdir) / "metrics.jsonl"
        self._alarms = self._path.with_name("alarms.jsonl")
        self._remote = "://" in workdir
        self._lines: list[str] = []  # of a remote file
        self._unsaved = 0
        if self._remote and self._path.exists():
            self._lines = self._path.read_text().splitlines()
        # For remote folders TensorBoard would need a cloud client, so they get only the JSONL file.
        # SummaryWriter is not used, because its thread dies on a full disk and the loop would then
        # wait for it for ever.
        self._board = None
        if not self._remote:
            folder = pathlib.Path(workdir) / "tensorboard"
            folder.mkdir(parents=True, exist_ok=True)
            self._board = EventsWriter(str(folder / "events"))

    def write(self, step: int, values: dict[str, float | int]) -> None:
        """Write one JSON object on one line; non-finite numbers become null."""
        if not self._enabled:
            return
        line: dict[str, Any] = {"step": step}
        for name, value in values.items():
            line[name] = value if math.isfinite(value) else None
            self._show(step, summary=summary.scalar(name, value))
        self._append(json.dumps(line))
        if self._board:
            self._board.flush()

    def alarm(self, step: int, text: str) -> None:
        """Add an alarm of the health check to alarms.jsonl of a local workdir."""
        if self._enabled and not self._remote:
            with self._alarms.open("a") as file:
                file.write(json.dumps({"step": step, "alarm": text}) + "\n")

    def picture(self, step: int, tag: str, path: epath.Path) -> None:
        """Show a PNG file in TensorBoard."""
        if self._enabled and self._board:
            from matplotlib import image  # imported here because it takes half a second

            pixels = image.imread(str(path))[..., :3]
            self._show(step, summary=summary.image(tag, pixels, dataformats="HWC"))

    def audio(self, step: int, tag: str, wave: np.ndarray, rate: int) -> None:
        """Add a waveform, float [S] in [-1, 1] at `rate` Hz, to TensorBoard."""
        if self._enabled and self._board:
            wave = wave[:, None].astype(np.float32)
            self._show(step, summary=summary.audio(tag, wave, sample_rate=rate))

    def truncate_after(self, step: int) -> None:
        """Remove lines after `step`, which a resumed run repeats, and a half-written last line."""
        if not self._enabled or not self._path.exists():
            return
        # TensorBoard then ignores earlier events of the repeated steps.
        self._show(step + 1, session_log=SessionLog(status=SessionLog.START))
        kept = []
        for line in self._path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        self._lines = kept if self._remote else []
        text = "".join(line + "\n" for line in kept)
        if self._remote:
            self._path.write_text(text)
        else:  # written under another name and renamed, so that a kill leaves one complete file
            aside = pathlib.Path(f"{self._path}.part")
            aside.write_text(text)
            aside.replace(self._path)

    def close(self) -> None:
        """Write all lines and events that are still in memory."""
        if not self._enabled:
            return
        if self._unsaved:
            self._path.write_text("".join(line + "\n" for line in self._lines))
        if self._board:
            self._board.close()

    def _show(self, step: int, **content: Any) -> None:
        if self._board:
            self._board.write_event(Event(step=step, wall_time=time.time(), **content))

    def _append(self, line: str) -> None:
        if not self._remote:
            with self._path.open("a") as file:
                file.write(line + "\n")
            return
        self._lines.append(line)
        self._unsaved += 1
        if self._unsaved >= REMOTE_FLUSH_LINES:
            self._path.write_text("".join(line + "\n" for line in self._lines))
            self._unsaved = 0
