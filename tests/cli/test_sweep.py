"""`uniwav sweep`: which commands run, what is not repeated, and what is refused."""

import json
import pathlib
import subprocess

import pytest

from uniwav_jax import cli
from uniwav_jax.config import recipes
from uniwav_jax.errors import UserError

ARGUMENTS = ("--manifest", "train.tsv", "--eval_manifest", "eval.tsv", "--seeds", "0,1")
JUDGES = ("--units", "u.tsv", "--alignments", "grids", "--asr", "a.tsv", "--asr_eval", "b.tsv")


@pytest.fixture
def commands(monkeypatch):
    """The commands that ran; each writes what the real one would, or fails if `fails` is in it."""
    ran: list[list[str]] = []

    def run(words, stdout, **_):
        ran.append(words)
        if any("fails" in word for word in words):
            return subprocess.CompletedProcess(words, 3)
        options = dict(word.split("=", 1) for word in words if "=" in word)
        if "--workdir" in options:
            workdir = pathlib.Path(options["--workdir"])
            workdir.mkdir(parents=True, exist_ok=True)
            written = {"step": 1, "eval_loss": 1.0, "eval_cer": 0.5}
            (workdir / "metrics.jsonl").write_text(json.dumps(written) + "\n")
            config = json.loads(recipes.load("demo").to_json())
            (workdir / "config.json").write_text(json.dumps(config))
        else:
            states = {"encoder": {"states": [{"pnmi": 0.4}]}}
            pathlib.Path(words[-1]).write_text(json.dumps(states))
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def sweep(out, *words):
    return cli.main(["sweep", *words, "--out", str(out)])


def test_each_run_and_its_judges(commands, tmp_path, capsys):
    words = ("demo", "ablation:no_decoder", *ARGUMENTS, *JUDGES, "--settings", "train.steps=7")
    assert sweep(tmp_path, *words) == 0
    assert len(commands) == 2 * 2 * 3
    train, units, asr = commands[:3]
    assert train[:2] == ["nice", "-n10"] and "--config.train.steps=7" in train
    assert f"--workdir={tmp_path / 'demo' / 'seed_0'}" in train and "--config.seed=0" in train
    assert "units" in units and "u.tsv" in units
    assert f"--config.init_from={tmp_path / 'demo' / 'seed_0'}" in asr
    assert "--config.model.encoder.width=160" in asr and "--config.train.steps=400" in asr
    second = commands[3]
    assert f"--config={recipes.find('ablation:no_decoder')}" in second
    assert f"--workdir={tmp_path / 'ablation_no_decoder' / 'seed_0'}" in second
    assert "--config.seed=1" in commands[6]
    printed = capsys.readouterr().out
    assert "4 of 4: ablation:no_decoder, seed 1" in printed and "| cer" in printed
    assert (tmp_path / "table.md").read_text() in printed
    del commands[:]
    assert sweep(tmp_path, *words) == 0 and not commands  # nothing is repeated
    longer = (*words[:-1], "train.steps=9")
    assert sweep(tmp_path, *longer) == 0 and len(commands) == 4  # the trainings go on
    table = (tmp_path / "table.json").read_bytes()
    (tmp_path / "table.json").unlink()
    assert sweep(tmp_path, "demo", "ablation:no_decoder", "--seeds", "0,1", "--table_only") == 0
    assert (tmp_path / "table.json").read_bytes() == table and len(commands) == 4


def test_a_failed_run_is_named_and_tried_again(commands, tmp_path, capsys):
    (tmp_path / "fails.py").write_text("")
    for _ in range(2):
        del commands[:]
        assert sweep(tmp_path / "out", str(tmp_path / "fails.py"), "demo", *ARGUMENTS) == 1
        error = capsys.readouterr().err
        assert "fails/seed_0: train ended with status 3; see " in error and ".log" in error
        assert [any("fails" in word for word in words) for words in commands].count(True) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dmeo", *ARGUMENTS], "no installed config of that name"),
        (["demo", "demo", *ARGUMENTS], "the config demo is given twice"),
        (["demo", *ARGUMENTS, "--seeds", "1,1"], "the seed 1 is given twice"),
        (["demo", *ARGUMENTS, "--seeds", "a"], "give whole numbers"),
        (["demo", *ARGUMENTS, "--units", "u.tsv"], "--units and --alignments belong together"),
        (["demo", "--manifest", "a.tsv"], "need --manifest and --eval_manifest"),
        (["demo", *ARGUMENTS, "--settings", "seed=3"], "FIELD=VALUE, except seed, data.manifest"),
        (["demo", *ARGUMENTS, "--settings", "workdir"], "--settings workdir: give FIELD=VALUE"),
        (["demo", "--table_only"], "has no run of demo that was evaluated"),
    ],
)
def test_what_cannot_be_a_sweep(words, message, commands, tmp_path):
    with pytest.raises(UserError, match=message):
        sweep(tmp_path, *words)
    assert not commands
