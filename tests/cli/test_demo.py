"""The command of the page; tests/demo tests the page itself."""

import sys

import pytest

from uniwav_jax import cli
from uniwav_jax.errors import UserError


def test_missing_gradio_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r'^uniwav demo needs gradio: .*"uniwav_jax\[demo\]"$'):
        cli.main(["demo"])
