"""The default weights of language models."""

import inspect

import pytest

from uniwav_jax import cli
from uniwav_jax.inference import recognize
from uniwav_jax.inference.words import LM_WEIGHT, WORD_SCORE


def test_defaults_of_the_commands_are_those_of_the_search(capsys):
    """The help of the commands states the unit too."""
    with pytest.raises(SystemExit):
        cli.main(["transcribe", "--help"])
    assert "default: 2 / ln 10 = 0.87" in " ".join(capsys.readouterr().out.split())
    assert pytest.approx(0.8686, abs=1e-4) == LM_WEIGHT and WORD_SCORE == -1
    options = inspect.signature(recognize.Beam).parameters
    assert (options["weight"].default, options["word_score"].default) == (LM_WEIGHT, WORD_SCORE)
