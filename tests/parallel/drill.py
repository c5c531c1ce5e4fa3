"""One process of a run in these tests: python -m tests.parallel.drill LIMIT ACTION ..."""

import sys
import time

import jax
import numpy as np
from etils import epath
from jax.sharding import NamedSharding, PartitionSpec

from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.parallel import group as group_lib
from uniwav_jax.parallel.group import Group, together

group_lib.POLL, group_lib.GRACE = 0.5, 5.0  # shorter waits, with the same order of events


def check(group: Group, workdir: str, *settings: str):
    """Run the self-check of a run with `settings` such as config.seed=1."""
    from uniwav_jax import features as features_lib
    from uniwav_jax.config import default_config, from_dict
    from uniwav_jax.data.plan import BatchPlan
    from uniwav_jax.parallel.mesh import make_mesh
    from uniwav_jax.train import self_check

    self_check.STALE = 1.0
    config = default_config("tiny")
    config.data.update(buckets=(1.0, 2.0), batch_seconds=16.0, min_seconds=0.5)
    for setting in settings:
        name, value = setting.removeprefix("config.").split("=")
        config.update_from_flattened_dict({name: type(_at(config, name))(value)})
    config = from_dict(config)
    plan = BatchPlan(config, cache=f"{workdir}/data")
    mesh, features = make_mesh(config.mesh), features_lib.build(config.features)
    self_check.run(group, config, mesh, plan, features, epath.Path(workdir), print)


def _at(config, name):
    for part in name.split("."):
        config = config[part]
    return config


def gather(index: int) -> np.ndarray:
    """Gather the index of every process; this blocks until all processes have called it."""
    mesh = jax.make_mesh((jax.process_count(), jax.local_device_count()), ("process", "device"))
    mine = NamedSharding(mesh, PartitionSpec("process"))
    indices = jax.make_array_from_process_local_data(mine, np.array([index]))
    spread = jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return np.asarray(jax.block_until_ready(spread(indices)))


def do(thing: str, group: Group):
    name, _, value = thing.partition(":")
    if name == "barrier":
        group.barrier(value)
    elif name == "exchange":
        print(group.exchange(value, f"{value} of {group.index}"), flush=True)
    elif name == "reduce":  # blocks for ever if another process is alive but does not call it
        group.beat(f"reduction {value}")
        print(gather(group.index), flush=True)
    elif name == "sleep":
        time.sleep(float(value))
    elif name == "mistake":
        raise UserError(value)
    elif name == "crash":
        raise ValueError(value)
    elif name == "check":
        check(group, *value.split())
    else:
        raise KeyError(thing)
    print(f"done {name}", flush=True)


def main(arguments: list[str]) -> int:
    limit, *things = arguments
    with together(float(limit)) as group:
        for thing in things:
            do(thing, group)
    return 0


def begin(arguments: list[str]) -> None:
    """Run this program in a forked process."""
    sys.argv[1:] = arguments
    run_tool(main)


if __name__ == "__main__":
    run_tool(main)
