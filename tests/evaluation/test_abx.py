"""ABX errors of frames that know their phones, of noise, and the item file."""

import numpy as np
import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import abx, units


def clips():
    """Ten clips of two speakers, s AA s IY s AA ..., each phone of 3 frames."""
    labels = np.repeat(["s", "AA", "s", "IY"] * 5, 3)
    return units.Clips([], [labels] * 10, ["a", "b"] * 5, 10, 10 * len(labels))


def test_the_item_file_has_phones_with_their_neighbours():
    lines = abx._phones(clips(), 50)
    assert lines[0] == "0 0.0600 0.1200 AA s s a"
    assert len(lines) == 10 * 18 and lines[18].startswith("1 ") and lines[18].endswith(" b")


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fastabx", None)
    with pytest.raises(UserError, match=r"uniwav_jax\[abx\].* on Python 3.12"):
        abx.require()


def test_phones_have_exactly_their_frames(tmp_path):
    """fastabx takes the frames whose centres lie between the times of an item."""
    pytest.importorskip("fastabx", reason="extra abx, which needs Python 3.12")
    from fastabx.dataset import item_frontiers

    item = tmp_path / "phones.item"
    item.write_text("\n".join([abx.COLUMNS, *abx._phones(clips(), 50)]) + "\n")
    polars = pytest.importorskip("polars")
    decimals = {name: polars.Decimal(scale=4) for name in ("onset", "offset")}
    table = polars.read_csv(item, separator=" ", schema_overrides=decimals)
    start, end, *_ = item_frontiers(50, "onset", "offset")
    found = table.select(start, end).rows()
    assert found[:3] == [(3, 6), (6, 9), (9, 12)]


def test_errors():
    pytest.importorskip("fastabx", reason="extra abx, which needs Python 3.12")
    speech, random = clips(), np.random.default_rng(0)
    names, codes = np.unique(np.concatenate(speech.labels), return_inverse=True)
    codes = np.split(codes, 10)
    known = [np.eye(len(names), dtype=np.float32)[clip] for clip in codes]
    noise = [random.standard_normal((len(clip), 8)).astype(np.float32) for clip in codes]
    found = abx.errors(known, speech, frame_rate=50)
    assert found == {"abx_within": 0.0, "abx_across": 0.0}
    found = abx.errors(
        [clip[:, None] for clip in codes], speech, frame_rate=50, distance="identical"
    )
    assert found == {"abx_within": 0.0, "abx_across": 0.0}
    found = abx.errors(noise, speech, frame_rate=50)
    assert all(abs(error - 0.5) < 0.1 for error in found.values())
    table = [{"layer": 1}]
    abx.add(
        table,
        lambda batch: (np.stack([known[batch], known[batch + 1]], 0)[None], np.ones((2, 60), bool)),
        units.Clips([0, 2, 4, 6, 8], speech.labels, speech.speakers, 10, speech.frames),
        frame_rate=50,
    )
    assert table == [{"layer": 1, "abx_within": 0.0, "abx_across": 0.0}]
