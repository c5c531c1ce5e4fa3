"""`uniwav sweep`: what options mean, the table without training, and mistakes."""

import json

import pytest

from tests.evaluation.test_sweep_table import finish
from uniwav_jax import cli
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import sweep
from uniwav_jax.evaluation.sweep_plan import Plan
from uniwav_jax.evaluation.sweep_table import Run

DATA = ["--manifest", "train.tsv", "--eval_manifest", "eval.tsv"]


@pytest.fixture
def plans(monkeypatch):
    """The plans that would be run; `plans.failed` is what their runs return."""

    class Plans(list):
        failed = ()

        def __call__(self, plan):
            self.append(plan)
            plan.out.mkdir(exist_ok=True)
            (plan.out / "table.md").write_text("the table\n")
            return list(self.failed)

    plans = Plans()
    monkeypatch.setattr(sweep, "run", plans)
    return plans


def test_options_make_a_plan(plans, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["sweep", "a", "b:4x2", "--seeds", "0,1,2", "--out", str(out), *DATA]
    assert cli.main(command) == 0
    usual = Plan(out, ("a", "b:4x2"), (0, 1, 2), "train.tsv", "eval.tsv")
    assert plans == [usual] and capsys.readouterr().out == "the table\n"
    more = ["--init_from", "b:4x2=a", "--init_from", "c=a", "--units", "u", "--alignments", "g"]
    more += ["--asr", "l", "--asr_eval", "e", "--asr_minutes", "60", "--nice", "0", "--speech", "p"]
    settings = ["--config.train.steps=500", "--config.features.codec=a=b"]
    assert cli.main([*command, *more, "--", *settings]) == 0
    plan = plans[-1]
    assert plan.settings == {"train.steps": "500", "features.codec": "a=b"}
    assert plan.starts == {"b:4x2": "a", "c": "a"}
    assert (plan.units, plan.alignments, plan.asr, plan.asr_eval) == ("u", "g", "l", "e")
    assert (plan.asr_minutes, plan.nice, plan.speech) == (60.0, 0, "p")


def test_a_failed_run_gives_status_1_and_names_its_log(plans, tmp_path, capsys):
    plans.failed = ({"run": "a, seed 0", "stage": "train", "status": 2, "log": "the.log"},)
    assert cli.main(["sweep", "a", "--seeds", "0", "--out", str(tmp_path / "out"), *DATA]) == 1
    printed = capsys.readouterr()
    assert printed.err == "error: a, seed 0: train failed; see the.log\n"
    assert printed.out == "the table\n"


def test_the_table_is_made_again_from_the_files(plans, tmp_path, capsys):
    for config, losses in {"a": (1.0, 2.0), "b": (1.5, 2.5)}.items():
        for seed, loss in enumerate(losses):
            finish(Run(tmp_path, config, seed), loss=loss)
    (tmp_path / "sweep.json").write_text(json.dumps({"configs": ["a", "b"], "seeds": [0, 1]}))
    assert cli.main(["sweep", "--out", str(tmp_path), "--table_only"]) == 0
    printed = capsys.readouterr().out
    assert "| b " in printed and "0.5000 (0.5000 to 0.5000) | yes, higher" in printed
    assert (tmp_path / "table.md").read_text() == printed and not plans
    command = ["sweep", "b", "a", "--seeds", "1", "--out", str(tmp_path), "--table_only"]
    assert cli.main(command) == 0 and "less b" in capsys.readouterr().out


MISTAKES = [
    (["--seeds", "0,x", *DATA], "--seeds must be numbers, separated by commas; got '0,x'"),
    (["--seeds", "0"], "give --manifest and --eval_manifest"),
    ([*DATA, "--", "train.steps=5"], r"settings after -- are .*; got 'train\.steps=5'"),
    ([*DATA, "--", "--config.train.steps", "5"], "settings after -- are"),
    ([*DATA, "--", "--workdir=x"], "the sweep sets --workdir itself"),
    ([*DATA, "--", "--config=demo"], "the sweep sets --config itself"),
    ([*DATA, "--init_from", "b"], "--init_from takes CONFIG=OTHER, once for a CONFIG; got 'b'"),
    ([*DATA, "--init_from", "b=a", "--init_from", "b=c"], "once for a CONFIG; got 'b=c'"),
    (["--table_only"], r"sweep\.json cannot be read: .*; give configs and --seeds"),
]


@pytest.mark.parametrize(("more", "message"), MISTAKES)
def test_mistakes_end_in_one_line(more, message, plans, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        cli.main(["sweep", "a", "--out", str(tmp_path), *more])
    assert "\n" not in str(error.value) and not plans


def test_a_table_of_nothing_is_refused(tmp_path):
    command = ["sweep", "a", "--seeds", "0", "--out", str(tmp_path), "--table_only"]
    with pytest.raises(UserError, match=r"none of these runs is finished in .*: a"):
        cli.main(command)
