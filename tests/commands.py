"""Checks commands of the documentation with the parsers of their programs."""

import argparse
import importlib
import pathlib
import re
import runpy
import shlex
import sys
from typing import Any
from unittest import mock

import setuptools
from absl import flags
from ml_collections import config_flags

from tests.conftest import REPOSITORY
from uniwav_jax import cli
from uniwav_jax import config as config_lib
from uniwav_jax.config import recipes

PLAIN = {"cd", "source", "git", "python3", "ruff"}  # programs of others, which are not checked
LAUNCHERS = {"gpu_run.sh", "tpu_worker.sh", "slurm.sbatch"}  # pass their arguments on to the run


def lines(block: str) -> list[str]:
    """The lines of a bash block; continued lines are joined."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def split(line: str) -> list[tuple[dict[str, str], list[str]]]:
    """The commands of a line, each as the variables that are set for it and its words."""
    found, words = [], []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word != "&&":
            words.append(word)
            continue
        variables = {}
        while words and re.match(r"[A-Z_]+=", words[0]):
            name, _, variables[name] = words.pop(0).partition("=")
        if words:
            found.append((variables, words))
        words = []
    return found


def check(line: str) -> None:
    """Raise an exception unless each command of a line is accepted by its program."""
    for _, words in split(line):
        check_words(words)


def check_words(words: list[str]) -> None:
    """Check one command."""
    if words[-1] == "...":
        words = words[:-1]
    program, *arguments = words
    if program == "uniwav":
        check_uniwav(arguments)
    elif program == "python" and arguments[:2] == ["-m", "uniwav_jax.main"]:
        check_training(arguments[2:])
    elif program == "python":
        check_script(*arguments)
    elif program == "pip":
        check_extras(arguments)
    elif program in ("bash", "sbatch"):
        place = next(n for n, word in enumerate(arguments) if not word.startswith("-"))
        check_launcher(arguments[place], arguments[place + 1 :])
    elif program == "xpk":
        check(arguments[arguments.index("--command") + 1])
    else:
        assert program in PLAIN, f"unknown program: {words}"


def check_uniwav(arguments: list[str]) -> None:
    """Check the arguments of `uniwav` with the command's parser."""
    count = 2 if " ".join(arguments[:2]) in cli.COMMANDS else 1
    name, rest = " ".join(arguments[:count]), arguments[count:]
    if name == "--help":
        return
    assert name in cli.COMMANDS, f"no command uniwav {name}"
    if name == "train":
        check_training(rest)
        return
    parser = argparse.ArgumentParser(prog=f"uniwav {name}", exit_on_error=False)
    module = importlib.import_module(f"uniwav_jax.cli.{cli.COMMANDS[name].module}")
    getattr(module, name.split()[-1])(parser)
    try:
        parser.parse_args(rest)
    except SystemExit as error:
        raise AssertionError(f"uniwav {name} does not accept {rest}") from error


def check_training(arguments: list[str]) -> None:
    """Check arguments with the flags of `uniwav train`; the configuration must be valid."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    argv = recipes.with_paths(["uniwav train", *arguments])
    with mock.patch.object(sys, "argv", argv):  # config_flags reads --config.FIELD from there
        left = values(argv)
    assert left == ["uniwav train"] and values.workdir, arguments
    if ":" not in values.config.task:  # otherwise the task is defined on the page
        config_lib.from_dict(values.config)


def check_script(path: str, *arguments: str) -> None:
    """Check that a script exists and contains the options."""
    text = (REPOSITORY / path).read_text()
    for argument in arguments:
        if argument == "--":
            break
        option = re.match(r"--([\w]+)", argument)
        if option and not argument.startswith("--config"):
            assert re.search(rf"[\"'](--)?{option[1]}[\"']", text), f"{path} has no --{option[1]}"
        elif argument.startswith("--config="):
            recipes.find(argument.partition("=")[2])


def check_launcher(path: str, arguments: list[str]) -> None:
    """Check that a shell script exists and contains the options, and check the run's arguments."""
    text, name = (REPOSITORY / path).read_text(), pathlib.Path(path).name
    if name in LAUNCHERS:
        if arguments and arguments[0] == "--dry_run":
            arguments = arguments[1:]
        if arguments:
            check_training(arguments)
        return
    own, run = arguments, []
    if "--" in arguments:
        place = arguments.index("--")
        own, run = arguments[:place], arguments[place + 1 :]
    for argument in own:
        if argument.startswith("--"):
            option = argument.partition("=")[0]
            assert re.search(rf"{option}\b", text), f"{path} has no {option}"
    if run:
        check_training(run)


def check_extras(arguments: list[str]) -> None:
    """Check that the extras in a pip command exist."""
    known = set(setup_arguments()["extras_require"])
    for argument in arguments:
        for extras in re.findall(r"\[([\w,]+)\]", argument):
            assert set(extras.split(",")) <= known, argument


def setup_arguments() -> dict[str, Any]:
    """The arguments that setup.py passes to setuptools."""
    given: dict[str, Any] = {}
    with mock.patch.object(setuptools, "setup", given.update):
        runpy.run_path(str(REPOSITORY / "setup.py"))
    return given
