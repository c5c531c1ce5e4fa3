"""`uniwav train` is `python -m uniwav_jax.main`."""

from uniwav_jax import cli, main
from uniwav_jax.config import recipes


def test_help_lists_the_configs(capsys):
    assert cli.main(["train", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--workdir=DIR" in printed
    for name in recipes.names():
        assert f"  {name} " in printed


def test_arguments_are_passed_to_the_program(monkeypatch):
    from absl import app

    given = []
    monkeypatch.setattr(app, "run", lambda *args, **options: given.append((args, options)))
    assert cli.main(["train", "--config=demo", "--workdir=w"]) == 0
    ((function,), options) = given[0]
    assert function is main.main and options["flags_parser"] is main.parse_flags
    assert options["argv"][1:] == ["--config=demo", "--workdir=w"]
