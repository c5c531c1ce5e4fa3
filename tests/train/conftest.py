"""Shares the processes of tests/parallel with the tests of training's self-check."""

from tests.parallel.conftest import drill  # noqa: F401
