"""`uniwav evaluate ...` and `uniwav report`: what options mean, and the files that are written.

The functions that do the work are replaced here; tests/evaluation runs the commands with them.
"""

import json

import pytest

from uniwav_jax import api, cli
from uniwav_jax.data import manifest
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import (
    codec_measures,
    codewords,
    heard,
    judges,
    recognition,
    report,
    run_page,
    speech,
    tokens,
)
from uniwav_jax.inference.words import LM_WEIGHT, WORD_SCORE


@pytest.fixture
def recorded(monkeypatch):
    """A function (owner, name, result) that replaces a function by a record of its calls."""

    def replace(owner, name, result=None):
        calls = []

        def instead(*arguments, **options):
            calls.append((arguments, options))
            return result

        monkeypatch.setattr(owner, name, instead)
        return calls

    return replace


class Recogniser:
    recognizer = "the recogniser"


SCORES = recognition.Scores(
    names=["a.flac", "b.flac"],
    references=["go do", "h\u00f6"],
    hypotheses=["go", "h\u00f6"],
    results={"clips": 2, "clips_unreadable": []},
    alignment="REF: go do\n",
)


def test_recognition_tries_all_weights_and_writes_three_files(recorded, tmp_path):
    loaded = recorded(api, "load", Recogniser())
    calls = recorded(recognition, "score", SCORES)
    command = ["evaluate", "asr", "--checkpoint", "run", "--manifest", "dev.tsv"]
    out = tmp_path / "deep" / "out"
    more = ["--lm", "lm.bin", "--lm_weight", "0.3,0.6", "--word_score=-1,0", "--beam", "7"]
    assert cli.main([*command, *more, "--out", str(out)]) == 0
    assert cli.main(command) == 0
    assert [arguments for arguments, _ in loaded] == [("run",)] * 2
    options = {"lm": "lm.bin", "weights": [0.3, 0.6], "word_scores": [-1.0, 0.0], "beam": 7}
    assert calls[0] == (("the recogniser", "dev.tsv"), options)
    usual = {"lm": None, "weights": [LM_WEIGHT], "word_scores": [WORD_SCORE], "beam": 100}
    assert calls[1] == (("the recogniser", "dev.tsv"), usual)
    assert json.loads((out / "results.json").read_text())["clips"] == 2
    table = (out / "hypotheses.tsv").read_text(encoding="utf-8")
    assert table == "path\ttext\thypothesis\na.flac\tgo do\tgo\nb.flac\th\u00f6\th\u00f6\n"
    assert (out / "alignment.txt").read_text() == "REF: go do\n"
    assert len(list(out.iterdir())) == 3


def test_units_get_every_option_and_their_table_is_written(recorded, tmp_path):
    calls = recorded(codewords, "evaluate", {"purity": 0.5})
    given = ["--checkpoint", "run", "--manifest", "m.tsv", "--alignments", "grids"]
    out = tmp_path / "deep" / "units.json"
    more = ["--untrained", "--limit", "9", "--out", str(out)]
    assert cli.main(["evaluate", "units", *given, *more]) == 0
    ((arguments, options),) = calls
    assert not arguments and "out" not in options
    assert options == {
        **{"checkpoint": "run", "manifest": "m.tsv", "alignments": "grids", "fit_manifest": None},
        **{"untrained": True, "updates": 50, "seed": 0, "limit": 9, "batch_seconds": 60.0},
        **{"words": None, "abx": False},
    }
    assert json.loads(out.read_text()) == {"purity": 0.5}


@pytest.mark.parametrize("errors", [[], ["b.flac has no audio"]])
def test_a_file_that_cannot_be_scored_gives_status_1(errors, recorded, tmp_path, capsys):
    calls = recorded(codec_measures, "evaluate", ({"systems": {}, "notes": []}, errors))
    data = ["--manifest", "m.tsv", "--noise", "0,0.5", "--measures", "generation", "--limit", "9"]
    out = tmp_path / "deep" / "scores.json"
    assert cli.main(["evaluate", "codec", "codec", "mel", *data, "--out", str(out)]) == len(errors)
    options = {"measures": ("generation",), "noises": (0.0, 0.5), "limit": 9}
    settings = codec_measures.Settings("m.tsv", **options)  # all others are the usual ones
    assert calls == [((["codec", "mel"], settings), {})]
    assert json.loads(out.read_text()) == {"systems": {}, "notes": []}
    assert out.with_suffix(".md").is_file()
    assert capsys.readouterr().err == "".join(f"error: {error}\n" for error in errors)


@pytest.mark.parametrize("more", [[], ["--page", "page.html", "--page_clips", "3"]])
def test_speech_is_judged_and_a_page_is_written_if_asked(more, recorded, monkeypatch, capsys):
    recorded(api, "load", type("Model", (), {"speaker": "the speaker"}))
    recorded(judges, "load", ("the jury", ["a judge is left out"]))
    recorded(manifest, "load", "the corpus")
    document = {"clips": 1, "seeds": [0, 1], "rows": {"real": {}}}
    calls = recorded(speech, "evaluate", document)
    pages = recorded(heard.Heard, "write")
    command = ["evaluate", "speech", "--checkpoint", "run", "--manifest", "m.tsv", *more]
    assert cli.main([*command, "--rows", "real", "--seeds", "0,1", "--steps", "9"]) == 0
    ((arguments, options),) = calls
    assert arguments == ("the speaker", "the corpus", "the jury")
    assert (options.pop("heard") is not None) == bool(more)
    settings = {"rows": ["real"], "seeds": [0, 1], "settings": {"steps": 9}, "limit": None}
    assert options == settings
    assert [(arguments[1], options["title"]) for arguments, options in pages] == (
        [("page.html", "Generated speech")] if more else []
    )
    assert "| real" in capsys.readouterr().out


def test_tokens_are_judged(recorded, capsys):
    model = type("Model", (), {"require": lambda self, method: None})()
    recorded(api, "load", model)
    recorded(judges, "load", ("the jury", []))
    calls = recorded(tokens, "evaluate", {"rows": {}})
    recorded(tokens, "render", "the table\n")
    command = ["evaluate", "tokens", "--checkpoint", "run", "--manifest", "m.tsv", "--limit", "3"]
    more = ["--fit_manifest", "f.tsv", "--rows", "2 books, voice;latents"]
    assert cli.main([*command, *more]) == 0
    ((arguments, options),) = calls
    assert arguments == (model, "m.tsv", "the jury")
    settings = {"seeds": [0], "settings": {}, "limit": 3, "fit_manifest": "f.tsv", "heard": None}
    assert options == {**settings, "rows": ["2 books, voice", "latents"]}
    assert capsys.readouterr().out == "the table\n"


def test_report_is_of_all_runs(recorded):
    calls = recorded(report, "write")
    for command in (["a", "b"], ["--workdir", "a", "b"], ["a", "--workdir", "b"]):
        assert cli.main(["report", *command, "--out", "out"]) == 0
    assert calls == [((["a", "b"], "out"), {})] * 3


def test_report_is_a_page_if_its_name_is_one(recorded):
    calls = recorded(run_page, "write")
    command = ["report", "a", "--reference", "mini", "b", "--out", "x.html"]
    assert cli.main(command) == 0
    assert calls == [(("a", "x.html"), {"references": ["mini", "b"]})]


def test_what_is_missing_is_named(tmp_path, capsys):
    codec = ["evaluate", "codec", "codec"]
    for command in (["evaluate", "asr"], ["evaluate", "units"], codec, ["report"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(command)
        assert "are required: --" in capsys.readouterr().err
    with pytest.raises(UserError, match="none"):
        cli.main(["evaluate", "codec", str(tmp_path / "none"), "--manifest", "m.tsv"])
