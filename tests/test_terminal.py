"""The progress bar yields all items, on a terminal and elsewhere."""

import sys

import pytest

from uniwav_jax import terminal


@pytest.mark.parametrize("interactive", [False, True])
def test_items_pass_through(interactive, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: interactive, raising=False)
    assert list(terminal.progress(iter("abc"), 3, "reading")) == ["a", "b", "c"]
    assert list(terminal.progress([1, 2])) == [1, 2]
    assert bool(capsys.readouterr().out) == interactive
