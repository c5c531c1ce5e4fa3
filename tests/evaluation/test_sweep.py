"""A sweep does what is missing, names what fails, and makes a table of real runs."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests import forked
from tests.conftest import FAST_COMPILE
from tests.end_to_end.conftest import SMALL
from tests.evaluation.test_sweep_table import lines
from tests.forked import Forked
from uniwav_jax.config import recipes
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import sweep
from uniwav_jax.evaluation.sweep_plan import Plan
from uniwav_jax.evaluation.sweep_table import Run

JOINT, ALONE, FROZEN = (f"ablations/{name}" for name in ("joint", "no_decoder", "frozen"))
HEAD = "path\tsamples\tsample_rate\tspeaker\ttext\n"


@pytest.fixture
def plan(tmp_path):
    for name in ("train", "eval"):
        (tmp_path / f"{name}.tsv").write_text(HEAD + "a.flac\t16000\t16000\ta\tgo\n")
    speech = (str(tmp_path / "train.tsv"), str(tmp_path / "eval.tsv"))
    return Plan(tmp_path / "out", (JOINT, ALONE), (0, 1), *speech)


@pytest.fixture
def called(monkeypatch):
    """The arguments of `uniwav` in place of running it; `called.fails` makes some of them fail."""

    class Calls(list):
        fails = ()

        def __call__(self, words, log, *, nice):
            assert nice == 19
            self.append(words)
            text = " ".join(words)
            log.write_text(f"{text}\nerror: no luck\n")
            if any(part in text for part in self.fails):
                return 2
            given = dict(word.split("=", 1) for word in words if "=" in word)
            if words[0] == "train":
                workdir = pathlib.Path(given["--workdir"])
                values = {"eval_loss": 1.0 + 0.1 * len(self), "eval_cer": 0.5}
                lines(workdir, {2: values})
                config = recipes.load(given["--config"]).to_dict()
                (workdir / "config.json").write_text(json.dumps(config))
            else:
                found = {"encoder": {"states": [{"layer": 1, "pnmi": 0.4}]}}
                found["rows"] = {"oracle": {"word_error": {"mean": 0.2}}}
                pathlib.Path(words[words.index("--out") + 1]).write_text(json.dumps(found))
            return 0

    calls = Calls()
    monkeypatch.setattr(sweep, "call", calls)
    return calls


def test_each_config_and_seed_is_trained_once(plan, called, capsys):
    plan = dataclasses.replace(plan, settings={"train.steps": "5"})
    assert sweep.run(plan) == []
    assert [words[1:4] for words in called] == [
        [f"--config={c}", f"--workdir={plan.out / c}/seed_{s}", f"--config.seed={s}"]
        for s in (0, 1)
        for c in (JOINT, ALONE)
    ]
    data = [f"--config.data.manifest={plan.manifest}"]
    data.append(f"--config.data.eval_manifest={plan.eval_manifest}")
    assert all(words[4:] == [*data, "--config.train.steps=5"] for words in called)
    printed = capsys.readouterr().out
    log = plan.out / JOINT / "seed_0.log"
    assert f"[1/4] {JOINT}, seed 0: train; log {log}\n" in printed and log.exists()
    assert f"[4/4] {ALONE}, seed 1: train: finished in " in printed
    table = json.loads((plan.out / "table.json").read_text())
    assert table["measures"]["eval_loss"][ALONE]["seeds"] == {"0": 1.2, "1": 1.4}

    assert sweep.run(dataclasses.replace(plan, seeds=(0, 1, 2))) == []
    assert len(called) == 6 and capsys.readouterr().out.count("finished before") == 4
    assert json.loads((plan.out / "sweep.json").read_text())["seeds"] == [0, 1, 2]


def test_a_finished_run_with_other_settings_is_not_taken_for_this_one(plan, called):
    sweep.run(dataclasses.replace(plan, settings={"train.steps": "5"}))
    with pytest.raises(UserError, match=r"joint, seed 0: train .*steps=5 --config\.train\.steps=6"):
        sweep.run(dataclasses.replace(plan, settings={"train.steps": "6"}))
    assert len(called) == 4


def test_a_failed_run_is_named_and_the_others_are_done(plan, called, capsys):
    called.fails = (f"--workdir={plan.out / ALONE}/seed_0",)
    configs = (FROZEN, JOINT, ALONE)
    plan = dataclasses.replace(plan, configs=configs, starts={FROZEN: ALONE})
    (failed,) = sweep.run(plan)
    log = str(plan.out / ALONE / "seed_0.log")
    assert failed == {"run": f"{ALONE}, seed 0", "stage": "train", "status": 2, "log": log}
    printed = capsys.readouterr().out
    assert f"ended with status 2; see {log}  error: no luck" in printed
    assert f"{FROZEN}, seed 0: train: left out without train of {ALONE}, seed 0\n" in printed
    assert len(called) == 5 and f"--config.init_from={plan.out / ALONE}/seed_1" in called[-1]
    text = (plan.out / "table.md").read_text()
    assert f"Failed: {ALONE}, seed 0, train; see {log}" in text
    assert f"Not finished: {FROZEN}, seed 0" in text

    called.fails = ()
    assert sweep.run(plan) == [] and len(called) == 7  # only what was missing
    assert "Failed" not in (plan.out / "table.md").read_text()


def test_a_stage_without_its_result_is_repeated(plan, called):
    plan = dataclasses.replace(plan, configs=(JOINT,), seeds=(0,))
    sweep.run(plan)
    (Run(plan.out, JOINT, 0).file() / "metrics.jsonl").unlink()
    sweep.run(plan)
    assert len(called) == 2


def judged(plan, folder):
    (folder / "grids").mkdir()
    pairs = dict.fromkeys(("units", "asr", "speech"), plan.manifest)
    others = {"asr_eval": plan.eval_manifest, "speech_eval": plan.eval_manifest}
    return dataclasses.replace(plan, **pairs, **others, alignments=str(folder / "grids"))


def test_judges_start_from_the_run_and_have_its_structure(plan, called, tmp_path):
    plan = judged(plan, tmp_path)
    plan = dataclasses.replace(plan, seeds=(1,), fit_manifest=plan.manifest)
    assert sweep.run(plan) == []
    stages = [[*words[:2]] for words in called]
    asr, tts = ["train", "--config=ablations/asr"], ["train", "--config=ablations/tts"]
    each = [["evaluate", "units"], asr, tts, ["evaluate", "speech"]]
    assert stages[1:5] == stages[6:] == each and len(stages) == 10
    _, units, asr, tts, speech, *_, alone, _ = called
    folder = plan.out / JOINT / "seed_1"
    assert {"--seed", "1", "--fit_manifest", str(folder)} < set(units)
    for words, parts in ((asr, "encoder"), (tts, "encoder,decoder"), (alone, "encoder")):
        assert f"--config.init_parts={parts}" in words and "--config.seed=1" in words
    assert {f"--config.init_from={folder}", f"--workdir={folder}.asr"} < set(asr)
    assert f"--config.data.manifest={plan.out / 'asr_10min.tsv'}" in asr
    assert {"--config.model.encoder.width=160", "--config.features.codec=codec"} < set(asr)
    assert "--config.distillation.top_layers=3" in asr  # it must fit the encoder's depth
    assert not any("decoder" in word or "dropout" in word for word in asr)
    same = {"--config.model.decoder.layers=2", "--config.flow.context=False"}
    assert same < set(tts) and same < set(alone)
    assert speech[2:] == [
        *("--checkpoint", f"{folder}.tts", "--manifest", plan.speech_eval, "--rows", "oracle"),
        *("--out", f"{folder}.speech.json"),
    ]
    table = json.loads((plan.out / "table.json").read_text())
    assert list(table["measures"])[:3] == ["pnmi", "cer", "speech_word_error"]
    assert sweep.run(plan) == [] and len(called) == 10


def test_a_failed_judge_leaves_out_only_what_needs_it(plan, called, tmp_path, capsys):
    plan = dataclasses.replace(judged(plan, tmp_path), configs=(JOINT,))
    called.fails = ("seed_0.tts", "seed_0.units")
    units, tts = sweep.run(plan)
    assert (units["stage"], tts["stage"]) == ("units", "tts")
    assert tts["log"] == str(plan.out / JOINT / "seed_0.tts.log")
    assert "seed 0: speech: left out without tts of" in capsys.readouterr().out
    table = json.loads((plan.out / "table.json").read_text())
    assert list(table["measures"]["speech_word_error"][JOINT]["seeds"]) == ["1"]
    assert list(table["measures"]["cer"][JOINT]["seeds"]) == ["0", "1"]


def test_tokens_are_judged_by_their_units(plan, called, tmp_path):
    plan = judged(plan, tmp_path)
    tokens = "ablations/tokenizer:1"
    plan = dataclasses.replace(plan, configs=(JOINT, tokens), seeds=(0,), starts={tokens: JOINT})
    sweep.run(plan)
    assert [words[0] for words in called[5:]] == ["train", "evaluate"]
    assert f"--config.init_from={plan.out / JOINT}/seed_0" in called[5]


def test_processes_have_low_priority_and_add_to_their_log(tmp_path, monkeypatch):
    log = tmp_path / "run.log"
    log.write_text("before\n")
    assert sweep.call(["--version"], log, nice=19) == 0
    assert log.read_text().startswith("before\nuniwav_jax ")
    given = []

    def instead(command, **options):
        given.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", instead)
    program = [sys.executable, "-m", "uniwav_jax.cli", "train"]
    assert sweep.call(["train"], log, nice=5) == 3
    monkeypatch.setattr(sweep.shutil, "which", lambda name: None)
    assert sweep.call(["train"], log, nice=5) == 3
    assert given == [["nice", "-n", "5", *program], program]


CONFIG = """
from uniwav_jax.config import recipes

def get_config():
    config = recipes.load("ablations/{name}")
    config.update_from_flattened_dict({values})
    return config
"""


def test_two_configs(small_corpus, tmp_path, monkeypatch):
    """Real trainings, the second config on the encoder of the first."""
    values = {k: v for k, v in SMALL.items() if k != "data.buckets"}
    values |= {"data.buckets": (2.0,), "train.steps": 2, "distillation.codewords": 8}
    values |= {"features.stats_seconds": 4.0, "evaluate.batches": 1}
    for name in ("no_decoder", "frozen"):
        (tmp_path / f"{name}.py").write_text(CONFIG.format(name=name, values=values))
    alone, frozen = (str(tmp_path / f"{name}.py") for name in ("no_decoder", "frozen"))

    def instead(words, log, *, nice):
        flags = f"--xla_force_host_platform_device_count=1 {FAST_COMPILE}"
        process = Forked(forked.train, words[1:], variables={**os.environ, "XLA_FLAGS": flags})
        output, _ = process.communicate(timeout=300)
        with log.open("a") as file:
            file.write(output)
        return process.returncode

    monkeypatch.setattr(sweep, "call", instead)
    speech = (str(small_corpus / "manifest.tsv"),) * 2
    plan = Plan(tmp_path / "out", (alone, frozen), (1,), *speech, starts={frozen: alone})
    assert sweep.run(plan) == []
    Run(plan.out, alone, 1).file(".json").unlink()  # as if the sweep was stopped at the run's end
    assert sweep.run(plan) == []
    log = (plan.out / "no_decoder" / "seed_1.log").read_text()
    assert log.count("finished 2 steps") == 2 and "resuming at step 2 of 2" in log
    log = (plan.out / "frozen" / "seed_1.log").read_text()
    assert f"init_from {plan.out / 'no_decoder' / 'seed_1'} (step 2)" in log
    table = json.loads((plan.out / "table.json").read_text())
    losses = table["measures"]["eval_loss_mfcc"]
    assert losses[alone]["seeds"].keys() == {"1"} and table["failed"] == table["unfinished"] == []
    decoder = table["measures"]["eval_loss_decoder"]
    assert decoder[alone]["seeds"] == {} and decoder[frozen]["seeds"].keys() == {"1"}
    assert losses[frozen]["seeds"] == losses[alone]["seeds"]  # the encoder is the same
