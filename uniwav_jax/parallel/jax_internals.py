"""The only imports from `jax._src`: parts of `jax.distributed` that have no public name.

JAX may move them in any release; tests/parallel/test_jax_internals.py shows why each is needed.
"""

from typing import Any

from jax._src import clusters
from jax._src.distributed import global_state


def client() -> Any:
    """The connection to JAX's coordination service, once `jax.distributed` is initialised.

    `multihost_utils` has neither a barrier with a time limit nor a key-value store.
    """
    return global_state.client


def process() -> tuple[int, int]:
    """Index of this process and number of processes.

    `jax.process_index` would start the devices, which waits without limit for the other processes.
    """
    return global_state.process_id, global_state.num_processes


def detect_cluster(seconds: int) -> tuple[str | None, int | None, int | None, Any]:
    """Detect the processes as `jax.distributed.initialize()` does, on Slurm, TPU pods and the like.

    The roll call needs it before `initialize` is called.

    Args:
        seconds: how long the detection may wait for the coordinator's address.

    Returns:
        Address of the coordinator, number of processes, index of this process (each None if it was
        not detected), and the local devices' ids in the form that `initialize` takes.
    """
    return clusters.ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, seconds
    )
