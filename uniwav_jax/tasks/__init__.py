"""The tasks that can be trained; each is one frozen value of functions (see `task.Task`)."""

from uniwav_jax import config as config_lib
from uniwav_jax.tasks import asr, codec, pretrain, tokenizer, tts
from uniwav_jax.tasks.task import Task

MODULES = (pretrain, asr, codec, tts, tokenizer)
TASKS = {module.TASK.name: module.TASK for module in MODULES}


def get(name: str) -> Task:
    """The task that `config.task` names.

    Args:
        name: a key of `TASKS`, or "module:VALUE" for a task outside the package.

    Raises:
        UserError: VALUE cannot be imported.
        KeyError: `name` is neither; `config.rules` excludes that.
    """
    return config_lib.named_value(name) if ":" in name else TASKS[name]
