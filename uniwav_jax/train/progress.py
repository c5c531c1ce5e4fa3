"""Shows the progress of a run: a progress bar on a terminal, plain lines otherwise."""

import sys
import time

from rich import progress as rich

SPEED = ("audio_seconds_per_second", "{:.1f} s audio/s")


class Progress:
    """Shows lines of metrics and the progress towards `total` steps.

    Args:
        total: steps of the run.
        first: step at which the run starts or continues.
        headline: (metric, format) pairs of the task that are shown if a line has the metric.
        enabled: False on all processes except one; these show nothing.
    """

    def __init__(
        self, total: int, first: int, headline: tuple[tuple[str, str], ...], *, enabled: bool
    ) -> None:
        self._total, self._first, self._enabled = total, first, enabled
        self._shown = (*headline, SPEED)
        self._start = time.monotonic()
        self._bar = None
        if enabled and sys.stdout.isatty():
            self._bar = rich.Progress(
                rich.MofNCompleteColumn(),
                rich.BarColumn(),
                rich.TextColumn("{task.description}"),
                rich.TimeRemainingColumn(),
                refresh_per_second=2,
            )
            self._task = self._bar.add_task("compiling", total=total, completed=first)
            self._bar.start()

    def update(self, step: int, line: dict[str, float]) -> None:
        """Show the metrics of `step`; metrics that the line does not have are left out."""
        if not self._enabled:
            return
        text = "  ".join(form.format(line[name]) for name, form in self._shown if name in line)
        if self._bar:
            self._bar.update(self._task, completed=step, description=text)
        else:
            left = (time.monotonic() - self._start) / max(step - self._first, 1)
            left = _duration(left * (self._total - step))
            print(f"step {step}/{self._total}  {text}  left {left}", flush=True)

    def message(self, text: str) -> None:
        """Print a line of text above the bar."""
        if not self._enabled:
            return
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def close(self) -> None:
        """Remove the bar and restore the terminal."""
        if self._bar:
            self._bar.stop()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
