"""The device mesh, and the sharding of arrays over it.

The mesh has the axes data, fsdp and tensor, on one device as well as on a pod. Rows of a batch are
split over data x fsdp, parameters over fsdp and tensor. Sharding is done by `jax.jit` with
`NamedSharding`.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from uniwav_jax.config import MeshConfig
from uniwav_jax.errors import UserError
from uniwav_jax.types import Batch, PyTree

AXES = ("data", "fsdp", "tensor")
ROWS = PartitionSpec(("data", "fsdp"))

# (pattern for the end of a parameter's path, logical axes of its last dimensions). Dimensions
# before those (layers, codebooks) stay whole. The first matching pattern is used; an array that no
# pattern matches is replicated.
PARAMETER_AXES = (
    (r"qkv_kernel$", ("embed", None, "heads", None)),
    (r"qkv_bias$", (None, "heads", None)),
    (r"attention/out/kernel$", ("heads", None, "embed")),
    (r"layers/up/kernel$", ("embed", "mlp")),
    (r"layers_(in|out)/up/kernel$", ("embed", None, "mlp")),
    (r"up/bias$", ("mlp",)),
    (r"down/kernel$", ("mlp", "embed")),
    (r"modulation/kernel$", ("embed", None, None)),
    (r"merge/kernel$", (None, "embed")),
    (r"heads/kernel$", ("embed", None)),
    (r"positions/kernel_\d+$", ("embed",)),
    (r"(project|time_in|time_out)/kernel$", (None, "embed")),
    (r"decoder/out/kernel$", ("embed", None)),
)
LOGICAL_TO_MESH = {"embed": "fsdp", "heads": "tensor", "mlp": "tensor", None: None}


def platform() -> str:
    """Platform to compile for ("cpu", "gpu", "tpu"), of the mesh in use or else the default one."""
    device = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None)
    return getattr(device, "platform", jax.default_backend())


def make_mesh(config: MeshConfig, devices: list | None = None) -> Mesh:
    """The mesh of the given sizes over all devices.

    Args:
        config: one size may be -1, which means the number of devices divided by the other sizes. If
            that size is fsdp and `fsdp_most` is not 0, fsdp becomes the largest divisor up to
            `fsdp_most`, and data is multiplied by the rest.
        devices: the devices; None: all devices of the run.

    Raises:
        UserError: the product of the sizes is not the number of devices, or the devices do not lie
            in `config.slices` slices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.tensor]
    if -1 in sizes:
        known = int(np.prod([size for size in sizes if size != -1]))
        sizes[sizes.index(-1)] = left = max(len(devices) // known, 1)
        if config.fsdp == -1 and config.fsdp_most:
            sizes[1] = max(n for n in range(1, config.fsdp_most + 1) if left % n == 0)
            sizes[0] *= left // sizes[1]
    if int(np.prod(sizes)) != len(devices):
        wanted = " x ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes))
        raise UserError(
            f"config.mesh {wanted} needs {int(np.prod(sizes))} devices, found {len(devices)}; set"
            " one axis to -1 or choose sizes whose product is the number of devices"
        )
    if config.slices > 1:
        if sizes[0] % config.slices:
            raise UserError(
                f"config.mesh.data ({sizes[0]}) must be a multiple of mesh.slices ({config.slices})"
            )
        inner = (sizes[0] // config.slices, sizes[1], sizes[2])
        # CPU devices have no slice_index.
        found = {getattr(device, "slice_index", 0) for device in devices}
        processes = {device.process_index for device in devices}
        if config.slices not in (len(found), len(processes)):
            raise UserError(
                f"config.mesh.slices is {config.slices}, but the devices lie in {len(found)} slices"
                f" and {len(processes)} processes; it must be one of the two"
            )
        grid = mesh_utils.create_hybrid_device_mesh(
            inner,
            (config.slices, 1, 1),
            devices=devices,
            # Otherwise a slice is a GPU host or a CPU process.
            process_is_granule=len(found) != config.slices,
            allow_split_physical_axes=True,
        )
    elif devices[0].platform == "tpu":
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    else:
        grid = np.asarray(devices).reshape(sizes)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


def path_string(path: tuple) -> str:
    """'encoder/layers/up/kernel' from a key path of `jax.tree_util`."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)


def parameter_spec(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """PartitionSpec of one parameter; dimensions that the mesh does not divide are not split."""
    for pattern, logical in PARAMETER_AXES:
        if re.search(pattern, path) and len(shape) >= len(logical):
            axes = [None] * (len(shape) - len(logical)) + [LOGICAL_TO_MESH[a] for a in logical]
            return PartitionSpec(
                *(a if a and size % mesh.shape[a] == 0 else None for a, size in zip(axes, shape))
            )
    return PartitionSpec()


def state_shardings(abstract: PyTree, mesh: Mesh) -> PyTree:
    """NamedSharding of every leaf; optimizer moments and teacher follow the parameters' rules."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, parameter_spec(path_string(path), leaf.shape, mesh)),
        abstract,
    )


def row_shards(mesh: Mesh) -> int:
    """Number of parts into which the rows of a batch are split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def shard_rows(x: jax.Array) -> jax.Array:
    """Split an array [B, ...] by rows over the mesh in use (`jax.set_mesh`), if there is one.

    Without this constraint XLA may split activations by width, as FSDP splits the weights.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, ROWS)


def check_rows(rows: int, mesh: Mesh, accumulate: int) -> None:
    """Check that the rows of every microbatch can be split evenly over the mesh.

    Args:
        rows: rows of a batch.
        mesh: the device mesh.
        accumulate: number of microbatches per batch.

    Raises:
        UserError: they cannot.
    """
    needed = row_shards(mesh) * accumulate
    if rows % needed:
        raise UserError(
            f"a batch of {rows} rows is not divisible by mesh data x fsdp = {row_shards(mesh)}"
            f" times train.accumulate = {accumulate}; set config.data.row_multiple to a multiple"
            f" of {needed}, or change config.mesh"
        )


def host_rows(mesh: Mesh, rows: int) -> np.ndarray:
    """Indices of the global rows that this process loads, int [n], ascending.

    They follow from the sharding: if the tensor axis spans processes, these load the same rows.
    """
    indices = NamedSharding(mesh, ROWS).addressable_devices_indices_map((rows,))
    return np.unique(np.concatenate([np.arange(rows)[index] for index in indices.values()]))


def to_global(local: dict[str, Any], mesh: Mesh, rows: int) -> Batch:
    """The global `Batch` from this process's rows.

    Args:
        local: NumPy arrays of this process's rows from the data pipeline: "samples", "bad", either
            "audio" or "latents", and optionally "labels".
        mesh: the device mesh.
        rows: number of rows of the global batch.
    """
    sharding = NamedSharding(mesh, ROWS)

    def place(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, array, (rows, *array.shape[1:]))

    return Batch(
        audio=place(local["audio"]) if "audio" in local else None,
        samples=place(local["samples"]),
        bad=place(local["bad"]),
        labels={name: place(label) for name, label in local.get("labels", {}).items()},
        latents=place(local["latents"]) if "latents" in local else None,
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding that gives every device a full copy of an array."""
    return NamedSharding(mesh, PartitionSpec())


def sharded_init(init: Callable[[], PyTree], mesh: Mesh) -> tuple[PyTree, PyTree]:
    """Run `init` under jit so that each array is created sharded; returns (tree, shardings)."""
    shardings = state_shardings(jax.eval_shape(init), mesh)
    return jax.jit(init, out_shardings=shardings)(), shardings
