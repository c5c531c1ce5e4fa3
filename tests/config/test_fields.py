"""The fields are frozen, hashable values that JSON keeps."""

import dataclasses
import json

import pytest

from uniwav_jax.config import Config
from uniwav_jax.config import fields as fields_lib


def groups(value, path="config"):
    """(path, instance) of a dataclass and of all dataclasses in it."""
    yield path, value
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from groups(inner, f"{path}.{field.name}")


def test_no_group_can_be_changed():
    found = dict(groups(Config()))
    assert len(found) > 15 and "config.codec.structure" in found
    for path, group in found.items():
        name = dataclasses.fields(group)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(group, name, None)
        assert hash(group) == hash(type(group)()), path  # a static argument of jit


def test_every_group_of_the_module_is_in_the_configuration():
    used = {type(group) for _, group in groups(Config())}
    module = vars(fields_lib).values()
    assert {kind for kind in module if dataclasses.is_dataclass(kind)} <= used


def test_json_has_every_field():
    document = json.loads(Config().to_json())
    for path, group in groups(Config()):
        part = document
        for name in path.split(".")[1:]:
            part = part[name]
        assert list(part) == [field.name for field in dataclasses.fields(group)], path
    assert document["data"]["buckets"] == list(Config().data.buckets)
    changed = dataclasses.replace(Config(), seed=5)
    assert json.loads(changed.to_json())["seed"] == 5
