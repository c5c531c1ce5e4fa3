"""What can be trained: one frozen value of functions per task (see `task.Task`)."""

from uniwav_jax import config as config_lib
from uniwav_jax.tasks import asr, codec, pretrain
from uniwav_jax.tasks.task import Task

TASKS = {task.name: task for task in (pretrain.TASK, asr.TASK, codec.TASK)}


def get(name: str) -> Task:
    """The task that `config.task` names: a key of `TASKS`, or "module:VALUE".

    Raises:
        UserError: there is none.
    """
    return config_lib.named_value(name) if ":" in name else TASKS[name]
