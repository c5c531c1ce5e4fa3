"""The report on a TPU slice: what can be said without its compiler."""

import pytest

from tests.conftest import load_tool
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError

report = load_tool("compile_report")


@pytest.mark.parametrize("most", [1, 2, 7, 100, 1000])
@pytest.mark.parametrize("shape", [lambda n: 0.0, lambda n: 2.0, lambda n: 2 + 0.02 * n])
def test_largest_batch_fits_and_is_within_an_eighth(monkeypatch, most, shape):
    """`shape`: what a compiler adds to memory that grows with the rows."""
    tries = []

    def step_of(config, rows, chips):
        tries.append(rows)
        peak = 1 + rows / 4 + shape(rows)  # four chips
        hbm = 1 + most + shape(4 * most)
        return {
            "fits": peak <= hbm,
            "problem": "too large",
            "peak_bytes_per_chip": peak,
            "state_bytes_per_chip": 1.0,
        }

    monkeypatch.setattr(report, "step_of", step_of)
    monkeypatch.setattr(report.distributed, "make_mesh", lambda *_: None)
    monkeypatch.setattr(report.distributed, "row_shards", lambda _: 4)
    rows = report.largest(Config(), (), 1 + most + shape(4 * most))
    assert 4 * most / 1.13 <= rows <= 4 * most
    assert rows in tries
    assert len(tries) <= 6


def test_says_when_one_row_does_not_fit(monkeypatch):
    monkeypatch.setattr(report, "step_of", lambda *_: {"fits": False, "problem": "by 3G"})
    monkeypatch.setattr(report.distributed, "make_mesh", lambda *_: None)
    monkeypatch.setattr(report.distributed, "row_shards", lambda _: 4)
    with pytest.raises(UserError, match=r"not even one row a chip fits; raise mesh\.fsdp"):
        report.largest(Config(), (), 1.0)


@pytest.mark.parametrize("text", ["v5e", "v9:2x2", "v5e:2", "v5e:2x2,slices", "H100:2x2"])
def test_names_a_topology_that_is_none(text):
    with pytest.raises(UserError, match=r"CHIP:AxB"):
        report.parse_topology(text)
    assert report.parse_topology("v5p:4x4x8,slices=2") == ("v5p", "4x4x8", 2)
