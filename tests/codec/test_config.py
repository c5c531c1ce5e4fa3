"""Structures reject values that no network can have, and compute their hop."""

import pytest

from uniwav_jax.codec.config import STRUCTURES, FrontEndConfig, SEANetConfig
from uniwav_jax.errors import UserError


@pytest.mark.parametrize("structure", STRUCTURES.values())
def test_defaults_are_valid_and_have_50_frames_per_second(structure):
    config = structure()
    config.validate()
    assert config.sample_rate == 50 * config.hop


@pytest.mark.parametrize(
    ("field", "value"),
    [("filters", 0), ("ratios", ()), ("padding", "mirror"), ("kernel", 4), ("trim_right", 0.5)],
)
def test_bad_structure_names_the_field(field, value):
    with pytest.raises(UserError, match=field):
        SEANetConfig(**{field: value}).validate()


def test_front_end_needs_a_stride_for_each_kernel():
    for values in ({"kernels": (10,)}, {"kernels": (2,), "strides": (5,)}):
        with pytest.raises(UserError, match="do not fit strides"):
            FrontEndConfig(**values).validate()
