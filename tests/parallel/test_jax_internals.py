"""Private parts of JAX still exist where this package expects them."""

import inspect

import pytest
from jax._src import clusters, distributed
from jax._src.lib import _jax


@pytest.mark.parametrize("name", ["client", "process_id", "num_processes"])
def test_state_of_the_coordination_service(name):
    assert hasattr(distributed.global_state, name), (
        f"JAX moved the {name} of its coordination service: runs of several processes cannot wait"
        " for one another with a time limit, nor report which process failed; adapt"
        " uniwav_jax/parallel/jax_internals.py"
    )


@pytest.mark.parametrize(
    ("name", "need"),
    [
        ("wait_at_barrier", "barriers with a time limit"),
        ("key_value_set", "progress and errors of each process"),
        ("key_value_dir_get", "progress and errors of each process"),
        ("key_value_increment", "which error came first"),
    ],
)
def test_methods_of_the_client(name, need):
    client = _jax.DistributedRuntimeClient
    assert hasattr(client, name), (
        f"JAX's client has lost {name}: uniwav_jax/parallel needs it: {need}"
    )


def test_detection_of_clusters():
    """It counts the processes of Slurm jobs and TPU pods before they connect."""
    function = clusters.ClusterEnv.auto_detect_unset_distributed_params
    assert len(inspect.signature(function).parameters) == 6
