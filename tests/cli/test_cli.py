"""The console script: every command has help, and unknown commands are one line."""

import argparse
import importlib
import re

import pytest

from tests.conftest import REPOSITORY, load_tool
from uniwav_jax import __version__, cli
from uniwav_jax.errors import UserError

PARSED = [name for name in cli.COMMANDS if name != "train"]
# Options with the same meaning in all commands, which must not have other names in some of them.
SHARED = {"--checkpoint", "--out", "--manifest", "--codec", "--workdir", "--config"}
DEVELOPERS = {"compile_report", "finetune_asr"}
TOOLS = sorted({p.stem for p in (REPOSITORY / "tools").glob("*.py")} - DEVELOPERS)


def parser_of(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    module = importlib.import_module(f"uniwav_jax.cli.{cli.COMMANDS[name].module}")
    assert callable(getattr(module, name.split()[-1])(parser))
    return parser


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.help)}$", printed, re.MULTILINE)
    assert cli.main(["data", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "data pack" in printed and "transcribe" not in printed.split("\n\n")[1].split("\n")[0]
    assert "evaluate" not in printed
    assert cli.main(["--version"]) == 0 and __version__ in capsys.readouterr().out


@pytest.mark.parametrize("name", PARSED)
def test_each_command_and_option_has_help(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([*name.split(), "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: uniwav {name} ")
    assert not re.search(r"\S {4,}--", printed)  # a continued line of an example was joined
    for action in parser_of(name)._actions:
        text = action.help or ""
        assert text or action.metavar or action.choices, f"{name} {action.dest} has no help"


def test_options_have_the_same_names_in_all_commands():
    """No command has another name for a shared option."""
    options = {
        option
        for name in PARSED
        for action in parser_of(name)._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    assert options >= SHARED
    others = r"--(output|outdir|out_dir|ckpt|model|run|work_dir|tsv|codec_folder|checkpoints)$"
    assert not [option for option in options if re.match(others, option)]


def test_unknown_commands_list_the_known_ones():
    for argv in (["transcibe"], ["data", "chek"], ["data", "check2", "--help"]):
        with pytest.raises(
            UserError, match=f"no command 'uniwav {argv[0]}.*known are: train, data"
        ):
            cli.main(argv)
    assert cli.main(["data"]) == cli.main(["import"]) == 2


@pytest.mark.parametrize("name", TOOLS)
def test_tools_run_the_commands_that_they_name(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        load_tool(name).main(["--help"])
    text = (REPOSITORY / "tools" / f"{name}.py").read_text()
    command = re.search(r"`uniwav ([\w ]+)`", text)[1]
    assert capsys.readouterr().out.startswith(f"usage: uniwav {command} ")
