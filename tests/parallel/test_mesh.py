"""Layout of devices on a mesh with several slices."""

import dataclasses

import jax
import numpy as np
import pytest

from uniwav_jax.config import MeshConfig
from uniwav_jax.errors import UserError
from uniwav_jax.parallel.mesh import make_mesh


@dataclasses.dataclass(frozen=True)
class Device:
    """The attributes of a device that `mesh_utils` reads."""

    id: int
    process_index: int
    slice_index: int
    platform: str = "cpu"
    device_kind: str = "cpu"


@pytest.mark.parametrize(
    "part_of",
    [
        lambda index: {"slice_index": index // 4, "process_index": index // 2},  # TPU slices
        lambda index: {"slice_index": 0, "process_index": index // 4},  # hosts
    ],
)
def test_only_the_data_axis_crosses_slices(part_of):
    devices = [Device(index, **part_of(index)) for index in (7, 2, 5, 0, 1, 6, 3, 4)]
    mesh = make_mesh(MeshConfig(data=4, tensor=2, slices=2), devices)
    ids = np.vectorize(lambda device: device.id)(mesh.devices)
    assert set(ids[:2].ravel()) == {0, 1, 2, 3} and set(ids[2:].ravel()) == {4, 5, 6, 7}


def test_missing_slices_are_an_error():
    with pytest.raises(UserError, match=r"slices is 2, but .* 1 slices and 1 processes"):
        make_mesh(MeshConfig(slices=2))
    with pytest.raises(UserError, match=r"config\.mesh\.data \(1\) must be a multiple"):
        make_mesh(MeshConfig(data=1, fsdp=-1, slices=2))
    assert make_mesh(MeshConfig(fsdp=2)).size == jax.device_count()


@pytest.mark.parametrize(
    ("devices", "tensor", "found"), [(1, 1, (1, 1)), (6, 1, (2, 3)), (8, 1, (2, 4)), (8, 4, (1, 2))]
)
def test_no_more_than_fsdp_most_share_the_state(devices, tensor, found):
    config = MeshConfig(data=1, fsdp=-1, fsdp_most=4, tensor=tensor)
    mesh = make_mesh(config, jax.devices()[:devices])
    assert (mesh.shape["data"], mesh.shape["fsdp"]) == found
