"""Short pretraining: its command, and the best layer. tests/end_to_end runs such training."""

import subprocess
import types

import pytest

from tests import commands
from tests.evaluation import codecs
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codewords, pretraining, systems

GIVEN = ("train.tsv", "aligned.tsv", "grids")


def table(*values):
    return [{"layer": number, "pnmi": value} for number, value in enumerate(values, 1)]


@pytest.fixture
def status(monkeypatch):
    """A function that replaces training by a process of this exit status."""

    def replace(code):
        done = types.SimpleNamespace(returncode=code, stdout="what went wrong")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)

    return replace


def test_the_command_is_accepted_by_training(tmp_path):
    codec = systems.System(codecs.save(tmp_path / "codec"))
    for system in (systems.System("mel"), codec):
        words = pretraining.command(system, "m.tsv", "run", updates=7, seed=3)
        assert words[1:3] == ["-m", "uniwav_jax.main"]
        commands.check_words(["python", *words[1:]])
    assert f"--config.features.codec={codec.name}" in words
    assert "--config.features.kind=codec" in words and "--config.train.steps=7" in words


def test_the_best_layer_counts(status, monkeypatch):
    status(0)
    found = {"encoder": {"states": table(0.2, 0.4), "feed_forward": table(0.3, 0.1)}, "clips": 9}
    found["fit_manifest"] = {"encoder": {"states": table(0.1), "feed_forward": table(0.35)}}
    monkeypatch.setattr(codewords, "evaluate", lambda *_, **__: found)
    means = pretraining.measure(systems.System("mel"), *GIVEN, updates=5)
    assert {name: mean.mean for name, mean in means.items()} == {
        "pnmi_encoder_other": 0.35,
        "pnmi_encoder_same": 0.4,
    }


def test_failed_training_is_reported(status, capsys):
    status(3)
    with pytest.raises(UserError, match="mel: pretraining failed with status 3"):
        pretraining.measure(systems.System("mel"), *GIVEN, updates=5)
    assert "what went wrong" in capsys.readouterr().err
