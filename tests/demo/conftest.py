"""Models of the page: those that ship, and a small recogniser with random weights."""

import pytest

from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax.demo import results


@pytest.fixture(scope="package")
def recogniser(tmp_path_factory) -> str:
    return make(tmp_path_factory.mktemp("demo"), task="asr", **SMALL)


@pytest.fixture(scope="package")
def models(recogniser) -> results.Models:
    """The samplers take two steps."""
    return results.Models([recogniser], steps=2)
