"""The notice of a preemption (SIGTERM), which all processes must take at the same step."""

import orbax.checkpoint as ocp


class CheckpointManager(ocp.CheckpointManager):
    """Orbax's manager, but only the loop tells JAX how far this process is.

    JAX takes the last step asked about for the place of the process, and agrees on the one after.
    Orbax's thread that completes a save asks about the saved step once more: a notice that came
    then was agreed for a step which the loop had passed, and was lost.
    """

    _asked: tuple[int, bool] = (-1, False)  # the furthest step, and JAX's answer

    def reached_preemption(self, step: int) -> bool:
        """True at the step that all processes agreed on; others than the furthest: as answered."""
        if step > self._asked[0]:
            self._asked = step, super().reached_preemption(step)
        return self._asked == (step, True)
