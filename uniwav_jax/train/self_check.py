"""Checks before the first compilation that all processes of a run do the same."""

import collections
import hashlib
import importlib.metadata
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import uniwav_jax
from uniwav_jax.config import Config
from uniwav_jax.data import manifest
from uniwav_jax.data.plan import BatchPlan
from uniwav_jax.errors import LostProcessError, UserError
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.parallel import mesh as mesh_lib
from uniwav_jax.parallel.group import Group

PACKAGES = ("uniwav_jax", "jax", "jaxlib", "numpy")
# These paths may differ between hosts; the content of their files is compared instead.
PATHS = ("data.manifest", "data.eval_manifest", "features.codec", "features.stats")
SHOWN = 16  # maximum of lines of the table
STALE = 60.0  # seconds for which a network file system may show an old version of a file


def run(
    group: Group,
    config: Config,
    mesh: Mesh,
    plan: BatchPlan,
    features: SurfaceFeatures,
    workdir: epath.Path,
    log: Callable[[str], None],
) -> None:
    """Compare the processes, print a table of them, and run one all-reduce over all devices.

    A run with a single process is not checked.

    Raises:
        UserError: two processes differ; it is raised in every process and names both and the
            difference.
        LostProcessError: a process did not arrive, or the sum over the devices is wrong.
    """
    if group.count == 1:
        return
    rows = {str(b): _ranges(mesh_lib.host_rows(mesh, n)) for b, n in plan.rows.items()}
    mine = {
        "host": group.host,
        "rows": rows,
        "alike": alike(config, plan, features),
        "time": time.time(),
    }
    everyone = [json.loads(each) for each in group.exchange("self-check", json.dumps(mine))]
    for line in table(everyone, plan.rows):
        log(line)
    for name in mine["alike"]:
        odd, usual = split([process["alike"][name] for process in everyone])
        if odd and name == "config":
            # The hash does not show which field differs, so one process of each side sends all.
            own = fields(config) if group.index in (odd[0], usual[0]) else {}
            configs = [json.loads(each) for each in group.exchange("config", json.dumps(own))]
            theirs, ours = configs[odd[0]], configs[usual[0]]
        elif odd:
            theirs, ours = ({name: everyone[side[0]]["alike"][name]} for side in (odd, usual))
        if odd:
            raise UserError(difference(theirs, ours, *(_named(s, everyone) for s in (odd, usual))))
    check_cover([process["rows"] for process in everyone], plan.rows)
    check_workdir(group, workdir, everyone)
    group.beat(f"an all-reduce over {mesh.size} devices")
    seconds = all_reduce(mesh)
    log(f"self-check: {group.count} processes agree, an all-reduce took {seconds:.3f} s")


def alike(config: Config, plan: BatchPlan, features: SurfaceFeatures) -> dict[str, str]:
    """{name: hash, version or other short value} of all that must be equal in all processes."""
    kinds = collections.Counter(device.device_kind for device in jax.local_devices())
    content = {"config.data.manifest": " ".join(corpus.digest for corpus in plan.corpora)}
    cache = str(pathlib.Path(plan.corpora[0].cache).parent)
    if config.data.eval_manifest:
        corpora = [manifest.load(m.strip(), cache=cache) for m in _held_out(config)]
        content["config.data.eval_manifest"] = " ".join(corpus.digest for corpus in corpora)
    if features.described:
        content["config.features.codec"] = features.described["digest"]
    if config.features.stats and epath.Path(config.features.stats).exists():
        content["config.features.stats"] = _hash(epath.Path(config.features.stats).read_bytes())
    return {
        "code": _hash(*_sources()),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": ", ".join(f"{count} x {kind}" for kind, count in kinds.items()),
        "config": _hash(json.dumps(fields(config)).encode()),
        **{f"the content of {name}": digest for name, digest in content.items()},
    }


def fields(config: Config) -> dict[str, Any]:
    """{"config.train.steps": 5, ...}, without the paths in `PATHS`."""
    flat: dict[str, Any] = {}

    def add(values: dict[str, Any], prefix: str) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                add(value, f"{prefix}{name}.")
            elif prefix + name not in PATHS:
                flat[f"config.{prefix}{name}"] = value

    add(json.loads(config.to_json()), "")
    return flat


def split(values: list[str]) -> tuple[list[int], list[int]]:
    """Indices of values other than the most frequent one, and indices of that one.

    Of equally frequent values the first one counts as the most frequent.
    """
    usual = collections.Counter(values).most_common(1)[0][0]
    odd = [index for index, value in enumerate(values) if value != usual]
    return odd, [index for index, value in enumerate(values) if value == usual]


def difference(theirs: dict[str, Any], ours: dict[str, Any], odd: str, usual: str) -> str:
    """One line that names the values in which two groups of processes differ.

    Args:
        theirs: {name: value} of the group that differs.
        ours: {name: value} of the other processes.
        odd: names of the processes that differ.
        usual: names of the other processes.
    """
    names = [name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)]
    values = [f"{name} is {theirs.get(name)}, not {ours.get(name)}" for name in names[:3]]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{odd}: {'; '.join(values)}{more} as in {usual}; start all processes alike"


def table(everyone: list[dict[str, Any]], rows: dict[int, int]) -> list[str]:
    """One line for each process; of more than `SHOWN`, the first ones and the last."""
    bucket, count = next(iter(rows.items()))
    lines = [
        f"process {index}: {process['host']}, {process['alike']['devices']},"
        f" rows {_text(process['rows'][str(bucket)])} of {count},"
        f" jax {process['alike']['jax']}, code {process['alike']['code']},"
        f" config {process['alike']['config']}"
        for index, process in enumerate(everyone)
    ]
    hidden = len(lines) - SHOWN
    return [*lines[: SHOWN - 1], f"({hidden} more)", lines[-1]] if hidden > 0 else lines


def check_cover(everyone: list[dict[str, list]], rows: dict[int, int]) -> None:
    """Raise a `UserError` unless each row of every batch is loaded by some process."""
    for bucket, count in rows.items():
        loaded = np.zeros(count, bool)
        for process in everyone:
            for first, last in process[str(bucket)]:
                loaded[first : last + 1] = True
        if not loaded.all():
            missing = _text(_ranges(np.flatnonzero(~loaded)))
            raise UserError(
                f"no process loads rows {missing} of the {count} in batches of {bucket} samples;"
                " the processes do not see the same config.mesh"
            )


def check_workdir(group: Group, workdir: epath.Path, everyone: list[dict[str, Any]]) -> None:
    """Raise unless all processes find a file that process 0 writes to the working directory.

    The file is processes.json, which contains the table.
    """
    file, content = workdir / "processes.json", json.dumps(everyone, indent=1)
    if group.index == 0:
        file.write_text(content)
    group.barrier("the working directory")
    deadline = time.monotonic() + STALE
    while not (file.exists() and file.read_text() == content):
        if time.monotonic() > deadline:
            raise UserError(
                f"{_named([group.index], everyone)} does not find what {_named([0], everyone)} just"
                f" wrote to {file}; --workdir must be one folder that all processes see"
            )
        time.sleep(0.5)


def all_reduce(mesh: Mesh) -> float:
    """Add 1 + 2 + ... + n over the devices; returns the seconds without compilation.

    Raises:
        LostProcessError: the sum is wrong.
    """
    count = mesh.size
    one_each = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    numbers = jax.make_array_from_callback(
        (count,), one_each, lambda index: np.arange(1, count + 1, dtype=np.int32)[index]
    )
    add = jax.jit(jnp.sum, out_shardings=mesh_lib.replicated(mesh)).lower(numbers).compile()
    began = time.perf_counter()
    for copy in add(numbers).addressable_shards:
        if (total := int(copy.data)) != count * (count + 1) // 2:
            raise LostProcessError(
                f"the sum of 1 ... {count} over {count} devices is {total} on {copy.device}, not"
                f" {count * (count + 1) // 2}: a device or the network between them is broken"
            )
    return time.perf_counter() - began


def _held_out(config: Config) -> list[str]:
    return config.data.eval_manifest.split(",")


def _sources() -> list[bytes]:
    """Names and contents of this package's files."""
    root = pathlib.Path(uniwav_jax.__file__).parent
    paths = sorted(root.rglob("*.py"))
    return [part for p in paths for part in (str(p.relative_to(root)).encode(), p.read_bytes())]


def _hash(*parts: bytes) -> str:
    return hashlib.blake2b(b"\0".join(parts), digest_size=4).hexdigest()


def _ranges(rows: np.ndarray) -> list[list[int]]:
    """[0, 1, 2, 8, 9] -> [[0, 2], [8, 9]]."""
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return [[int(run[0]), int(run[-1])] for run in runs if len(run)]


def _text(ranges: list[list[int]]) -> str:
    return ", ".join(f"{first}-{last}" for first, last in ranges) or "none"


def _named(indices: list[int], everyone: list[dict[str, Any]]) -> str:
    names = ", ".join(f"process {index} ({everyone[index]['host']})" for index in indices[:4])
    return names + (f" and {len(indices) - 4} more" if len(indices) > 4 else "")
