"""Flags of the program; tests/end_to_end tests the program itself."""

import pytest

from uniwav_jax import main


def test_an_unknown_config_ends_in_one_line(monkeypatch):
    """Other mistakes in flags are tested end to end: flags are parsed once in a process."""

    def fail(text, status=2):
        raise SystemExit(text)

    monkeypatch.setattr(main, "_fail", fail)
    with pytest.raises(SystemExit, match="--config=dmeo: there is no such file"):
        main.parse_flags(["uniwav train", "--config=dmeo"])
