"""Preemption notices (SIGTERM), to which all processes must react at the same step."""

import orbax.checkpoint as ocp


class CheckpointManager(ocp.CheckpointManager):
    """Orbax's manager, in which only the training loop reports its step to JAX.

    JAX treats the last queried step as this process's position and agrees with the other processes
    on the step after it. Orbax's thread that completes a save queries the saved step once more. A
    notice at that moment would be agreed on for a step that the loop has passed, and be lost.
    """

    _asked: tuple[int, bool] = (-1, False)  # the largest step queried, and JAX's answer

    def reached_preemption(self, step: int) -> bool:
        """True at the step on which all processes agreed; earlier steps do not query JAX again."""
        if step > self._asked[0]:
            self._asked = step, super().reached_preemption(step)
        return self._asked == (step, True)
