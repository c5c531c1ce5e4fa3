"""Fine-tuning for recognition, its evaluation, and the commands on its checkpoint."""

import json
import pathlib

import numpy as np
import pytest

from tests.conftest import FAST_COMPILE, load_tool
from tests.end_to_end.conftest import SMALL, Program, read_metrics
from uniwav_jax import cli
from uniwav_jax.checkpoint import reader
from uniwav_jax.errors import UserError

SETTINGS = {
    "task": "asr",
    "asr__freeze_steps": 8,
    "asr__channel_length": 8,
    "evaluate__every": 4,
    "evaluate__batches": 0,
    "data__buckets": "(3.0,)",
    "data__batch_seconds": 12.0,
    "train__steps": 8,
}
TEXTS = ("go do you hear", "what do you mean sir", "caf\u00e9")


@pytest.fixture(scope="module")
def spoken(small_corpus):
    """A manifest of the small corpus with some text."""
    header, *lines = (small_corpus / "manifest.tsv").read_text().splitlines()
    lines = [line + TEXTS[number % 3] for number, line in enumerate(lines)]
    path = small_corpus / "spoken.tsv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(spoken, undisturbed, tmp_path_factory):
    """The workdir of a recogniser trained from the undisturbed run, and the program's output."""
    workdir = tmp_path_factory.mktemp("recogniser")
    settings = SETTINGS | {"data__manifest": spoken, "data__eval_manifest": spoken}
    return workdir, Program(spoken.parent).run(workdir, init_from=undisturbed, **settings)


def test_encoder_comes_from_pretraining(trained, undisturbed):
    """The encoder is loaded, and is frozen for all eight updates."""
    workdir, output = trained
    checkpoint, other = reader.open(workdir), reader.open(undisturbed)
    ours, theirs = (run.arrays("params/encoder", "frozen") for run in (checkpoint, other))
    np.testing.assert_equal(ours["params"], theirs["params"])
    np.testing.assert_equal(ours["frozen"], theirs["frozen"])
    letters = sorted(set("".join(TEXTS).replace(" ", "|")))
    assert list(checkpoint.config.text.symbols) == letters
    assert f"alphabet: {len(letters)} letters" in output
    assert "new:  params/ctc/kernel" in output and "left: params/decoder" in output


def edits(reference, hypothesis):
    """Levenshtein distance of two sequences."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        corner, row[0] = row[0], i
        for j, found in enumerate(hypothesis, 1):
            best = min(row[j] + 1, row[j - 1] + 1, corner + (expected != found))
            corner, row[j] = row[j], best
    return row[-1]


def test_evaluation_scores_every_clip_once(trained, spoken):
    """The error rates are those of the written hypotheses, and each clip has one hypothesis."""
    workdir, _ = trained
    clips = [line.split("\t") for line in spoken.read_text().splitlines()[1:]]
    scored = [line for line in read_metrics(workdir) if "eval_wer" in line]
    assert [line["step"] for line in scored] == [4, 8]
    for line in scored:
        table = workdir / "hypotheses" / f"step_{line['step']:07d}.tsv"
        header, *rows = (row.split("\t") for row in table.read_text().splitlines())
        assert header == ["path", "text", "hypothesis"]
        assert sorted(row[:2] for row in rows) == sorted([clip[0], clip[-1]] for clip in clips)
        texts, hypotheses = [row[1] for row in rows], [row[2] for row in rows]
        for measure, units in (("wer", str.split), ("cer", list)):
            pairs = [(units(a), units(b)) for a, b in zip(texts, hypotheses, strict=True)]
            wrong = sum(edits(*pair) for pair in pairs)
            rate = wrong / sum(len(reference) for reference, _ in pairs)
            assert line[f"eval_{measure}"] == pytest.approx(rate, abs=1e-6)
        assert len({edits(*pair) / len(pair[0]) for pair in pairs}) > 2  # rates differ by clip


def test_scores_are_those_of_the_evaluation(trained, spoken, tmp_path):
    """The command computes clips separately and the run in batches, with the same texts."""
    command = ["evaluate", "asr", "--checkpoint", str(trained[0])]
    assert cli.main([*command, "--manifest", str(spoken), "--out", str(tmp_path)]) == 0
    hypotheses = (tmp_path / "hypotheses.tsv").read_text()
    assert hypotheses == (trained[0] / "hypotheses" / "step_0000008.tsv").read_text()
    result = json.loads((tmp_path / "results.json").read_text())
    (greedy,) = result["decodings"]
    scored = [line for line in read_metrics(trained[0]) if "eval_wer" in line][-1]
    for measure in ("wer", "cer"):
        assert greedy[measure] == pytest.approx(scored[f"eval_{measure}"], abs=1e-4)
        low, high = greedy[f"{measure}_95"]
        assert low <= greedy[measure] <= high
    assert result["clips"] == 12 and result["audio_seconds"] == pytest.approx(35, abs=1)
    assert "REF:" in (tmp_path / "alignment.txt").read_text()


def test_fine_tuning_against_scratch(spoken, undisturbed, tmp_path, monkeypatch):
    """Both starts train on the same batches; the error names a run that fails."""
    monkeypatch.setenv("XLA_FLAGS", FAST_COMPILE)
    tool = load_tool("finetune_asr")
    settings = SMALL | {name.replace("__", "."): value for name, value in SETTINGS.items()}
    settings |= {"train.steps": 4, "asr.freeze_steps": None, "task": None}
    given = [f"--config.{name}={value}" for name, value in settings.items() if value is not None]
    arguments = ["--pretrained", str(undisturbed), "--manifest", str(spoken), "--seeds", "0"]
    arguments += ["--eval_manifest", str(spoken), "--minutes", "0.3", "--out", str(tmp_path / "r")]
    assert tool.main([*arguments, "--", *given]) == 0
    (result,) = json.loads((tmp_path / "r" / "results.json").read_text())["results"]
    assert 0.2 < result["minutes"] <= 0.3
    low, high = result["cer difference"]
    mean = {start: result[f"cer {start}"]["mean"] for start in tool.STARTS}
    assert low <= mean["pretrained"] - mean["scratch"] <= high
    assert (tmp_path / "r" / "curves.png").stat().st_size > 1000
    runs = [tmp_path / "r" / f"0.3min_{start}_0" for start in tool.STARTS]
    trained = [[line for line in read_metrics(run) if "loss" in line] for run in runs]
    used = [[line["audio_seconds"] for line in lines] for lines in trained]
    assert used[0] == used[1] and len(used[0]) == 4
    logs = [pathlib.Path(f"{run}.log").read_text() for run in runs]
    assert "left: params/decoder" in logs[0] and "left:" not in logs[1]
    arguments[1] = str(tmp_path / "none")
    with pytest.raises(UserError, match=r"0\.3min_pretrained_1 ended with status 2; see .*log"):
        tool.main([*arguments[:5], "1", *arguments[6:], "--", *given])
