"""The processes of tests/parallel, for the self-check that training makes of them."""

from tests.parallel.conftest import drill  # noqa: F401
