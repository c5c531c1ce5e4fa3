"""Preemption notices: only the training loop may query JAX."""

import orbax.checkpoint as ocp

from tests.checkpoint.test_store import CONFIG, state_at
from uniwav_jax.checkpoint import store


def test_saves_do_not_change_the_reported_step(tmp_path, monkeypatch):
    """A late save queries its own step, and JAX would then agree on the step after that."""
    asked = []

    def answer_of_jax(_, step):
        asked.append(step)
        return step == 7

    monkeypatch.setattr(ocp.CheckpointManager, "reached_preemption", answer_of_jax)
    checkpoints = store.manager(tmp_path, CONFIG)
    answers = []
    for step in range(1, 9):
        answers.append(checkpoints.reached_preemption(step))
        if step in (3, 7):
            store.save(checkpoints, state_at(step), CONFIG, {})
    store.close(checkpoints)
    assert not checkpoints.reached_preemption(3)
    assert answers == [step == 7 for step in range(1, 9)]
    assert asked == list(range(1, 9))
