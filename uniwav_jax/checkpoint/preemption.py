"""The notice of a preemption (SIGTERM), which all processes must take at the same step."""

import orbax.checkpoint as ocp


class CheckpointManager(ocp.CheckpointManager):
    """Orbax's manager, except that only the loop reports this process's position to JAX.

    JAX treats the last queried step as this process's position and agrees on the step after it.
    Orbax's thread that completes a save queries the saved step once more. A notice that arrived at
    that moment was agreed for a step which the loop had passed, and was lost.
    """

    _asked: tuple[int, bool] = (-1, False)  # the last queried step, and JAX's answer

    def reached_preemption(self, step: int) -> bool:
        """True at the step that all processes agreed on; earlier steps keep their answer."""
        if step > self._asked[0]:
            self._asked = step, super().reached_preemption(step)
        return self._asked == (step, True)
