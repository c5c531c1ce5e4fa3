"""Tables of the three measures, and the files that are written."""

import json

from uniwav_jax.evaluation import codec_table


def mean(value, half=0.1, clips=4):
    if value is None:
        return {"mean": None, "low": None, "high": None, "clips": 0, "of": 4}
    return {"mean": value, "low": value - half, "high": value + half, "clips": clips, "of": 4}


DOCUMENT = {
    "notes": ["generation is left out"],
    "original": {"word_error": mean(0.05)},
    "systems": {
        "codecs/a": {
            "reconstruction": {
                "noise 0": {"pesq_wb": mean(3.5, clips=3), "word_error": mean(0.1)},
                "noise 0.3": {"pesq_wb": mean(2.5), "word_error": mean(None)},
            }
        },
        "mfcc39": {"representation": {"pnmi_same": mean(0.45)}},
    },
}


def test_overview_has_one_row_per_codec_and_details_have_intervals():
    overview, *rest = codec_table.render(DOCUMENT).split("\n\n")
    head, _, *rows = overview.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *rows)]
    assert cells[0][:4] == ["codec", "PESQ-WB", "WER", "0.3 s: PESQ"]
    assert cells[0][-1] == "PNMI same"  # columns without any value are left out
    assert [row[0] for row in cells[1:]] == ["original recordings", "a", "mfcc39"]
    assert cells[2][1:3] == ["3.500", "0.100"] and cells[1][2] == "0.050"
    text = "\n\n".join(rest)
    assert "3.500 (3.400 to 3.600) 3" in text  # 3 of 4 clips
    assert "0.450 (0.350 to 0.550)" in text and "Generation" not in text
    assert "Left out: generation is left out" in text
    assert len({len(row) for row in overview.splitlines()}) == 1  # columns are aligned


def test_two_files_are_written(tmp_path):
    codec_table.write(DOCUMENT, str(tmp_path / "deep" / "scores.json"))
    assert json.loads((tmp_path / "deep" / "scores.json").read_text()) == DOCUMENT
    assert (tmp_path / "deep" / "scores.md").read_text() == codec_table.render(DOCUMENT)


def test_names_are_short_unless_they_are_the_same():
    assert codec_table.short(["x/a", "y/a", "z/b", "mel"]) == ["x/a", "y/a", "b", "mel"]
