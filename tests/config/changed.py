"""A configuration with one value changed, for tests of what is refused."""

import json

from uniwav_jax.config import Config


def changed(field, value):
    """The default configuration as a plain dict with one field changed."""
    values = json.loads(Config().to_json())
    *groups, name = field.split(".")
    part = values
    for group in groups:
        part = part[group]
    part[name] = value
    return values
