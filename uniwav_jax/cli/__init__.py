"""The console script `uniwav`.

`COMMANDS` names the module of each command, which is imported when the command runs. There a
function of the command's last word adds the options to a parser and returns what runs; its
docstring is the help. `uniwav train` parses its flags itself.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import uniwav_jax
from uniwav_jax.errors import UserError, run_tool


class Command(NamedTuple):
    """The module of this package that has a command, and one line of help."""

    module: str
    help: str


COMMANDS = {
    "train": Command("train", "train or fine-tune a model; the same command continues a run"),
    "data manifest": Command("data", "list the speech in a folder: lengths, speakers, texts"),
    "data check": Command("data", "decode a manifest's clips and name what would go wrong"),
    "data pack": Command("data", "pack a manifest's clips into few files"),
    "data convert": Command("data", "convert G.722, m4a, video and others to FLAC"),
    "data cut": Command("data", "cut long clips at their pauses, by TextGrids"),
    "data latents": Command("data", "encode a corpus with a codec once"),
    "data phones": Command("data", "add aligned phones to a manifest, for speech synthesis"),
    "data speech_list": Command("data", "list clips and prompts, to judge speech synthesis"),
    "data stats": Command("data", "measure the feature statistics for several runs"),
    "data lm": Command("data", "build an n-gram model of words for transcribe --lm"),
    "transcribe": Command("recognition", "speech to text"),
    "align": Command("recognition", "times of the words and letters of a known text"),
    "speak": Command("speech", "text to speech, in the voice of a prompt"),
    "features": Command("representations", "the encoder's states or codes of audio"),
    "encode": Command("representations", "audio to a codec's latents or codes"),
    "decode": Command("representations", "a codec's latents or codes to audio"),
    "tokenize": Command("tokens", "speech to discrete tokens"),
    "detokenize": Command("tokens", "discrete tokens to speech, also in another voice"),
    "resynthesize": Command("tokens", "speech through tokens and back, to listen to them"),
    "tour": Command("tour", "a page with what the models that ship make of a recording"),
    "demo": Command("demo", "a local page to try the models with a microphone (gradio)"),
    "info": Command("tokens", "rates, books and damage of files of speech tokens"),
    "export": Command("exchange", "a checkpoint to PyTorch, a codec run to a codec folder"),
    "import model": Command("exchange", "a PyTorch model to a checkpoint"),
    "import codec": Command("exchange", "Lyra, EnCodec and others to a codec folder"),
    "evaluate asr": Command("evaluate", "error rates of a recogniser"),
    "evaluate units": Command("evaluate", "how well codewords correspond to phones"),
    "evaluate codec": Command("evaluate", "reconstruction, generation, representation of codecs"),
    "evaluate speech": Command("evaluate", "word error and similarity of generated speech"),
    "evaluate tokens": Command("evaluate", "what is left of speech after its tokens"),
    "sweep": Command("sweep", "configs x seeds, judged: a table with intervals"),
    "report": Command("evaluate", "curves and a summary of runs"),
}
Run = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Raises:
        UserError: there is no such command, or it cannot do what is asked of it.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--version"]:
        print(f"uniwav_jax {uniwav_jax.__version__}")
        return 0
    words = 2 if " ".join(argv[:2]) in COMMANDS else 1
    name, rest = " ".join(argv[:words]), argv[words:]
    if name not in COMMANDS:
        return _overview(argv)
    module = importlib.import_module(f"{__name__}.{COMMANDS[name].module}")
    command = getattr(module, name.split()[-1])
    if name == "train":
        return command(rest)
    import inspect

    parser = argparse.ArgumentParser(
        prog=f"uniwav {name}",
        description=inspect.getdoc(command),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run = command(parser)
    return run(parser.parse_args(rest))


def _overview(argv: list[str]) -> int:
    """Print the commands, those of a group where one is given; or raise for an unknown word."""
    given = [word for word in argv if word not in ("-h", "--help")]
    group = {name: c for name, c in COMMANDS.items() if name.split()[: len(given)] == given}
    if not group:
        known = ", ".join(COMMANDS)
        raise UserError(f"there is no command 'uniwav {' '.join(argv[:2])}'; known are: {known}")
    print(f"usage: uniwav {' '.join([*given, 'COMMAND'])} ...\n")
    for name, command in group.items():
        print(f"  {name:15} {command.help}")
    print("\n'uniwav COMMAND --help' says more of a command.")
    return 0 if argv != given or not argv else 2


def shortcut(*command: str) -> Callable[[Sequence[str]], int]:
    """`main` of one command, for the scripts of a checkout that stand for it.

    Args:
        command: its words, and perhaps an option whose values the arguments begin with.
    """

    def run(argv: Sequence[str]) -> int:
        words = list(command)
        if words[-1].startswith("-") and argv and argv[0].startswith("-"):
            words.pop()
        return main([*words, *argv])

    return run


def script() -> None:
    """Entry point of the console script."""
    run_tool(main)
