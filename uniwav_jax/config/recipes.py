"""Finds the configs that are installed with the package by their names.

In a checkout they are in the folder configs/ of the repository; an installation has them inside the
package.
"""

import ast
import pathlib
import re
import runpy

import ml_collections

from uniwav_jax.errors import UserError

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = (PACKAGE / "configs", PACKAGE.parent / "configs")  # of an installation, of a checkout


def folder() -> pathlib.Path:
    """The folder that contains the configs."""
    return next((path for path in FOLDERS if (path / "demo.py").is_file()), FOLDERS[0])


def names() -> list[str]:
    """Names of the installed configs; those in a folder of their own have its name before a "/"."""
    paths = (path.relative_to(folder()).with_suffix("") for path in folder().rglob("*.py"))
    return sorted((path.as_posix() for path in paths), key=lambda name: (name.count("/"), name))


def summary(name: str) -> str:
    """The first line of a config's docstring."""
    text = ast.get_docstring(ast.parse((folder() / f"{name}.py").read_text(encoding="utf-8")))
    return (text or "").split("\n")[0]


def find(config: str) -> str:
    """Replace the name of a config by its path; an argument after it is kept.

    Args:
        config: PATH or NAME, such as demo or ablations/joint; it may be followed by :ARGUMENT,
            which is passed to get_config().

    Raises:
        UserError: there is neither such a file nor an installed config of that name.
    """
    name, colon, argument = config.partition(":")
    if pathlib.Path(name).is_file():
        return config
    if re.fullmatch(r"[\w-]+(/[\w-]+)*", name) and name in names():
        return f"{folder() / name}.py{colon}{argument}"
    raise UserError(
        f"--config={name}: there is no such file, and no installed config of that name; there are:"
        f" {', '.join(names())}"
    )


def with_paths(argv: list[str]) -> list[str]:
    """Copy command-line arguments, with the name after --config replaced by a path (`find`)."""
    result = list(argv)
    for place, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if flag not in ("--config", "-config"):
            continue
        if equals:
            result[place] = f"{flag}={find(value)}"
        elif place + 1 < len(argv):
            result[place + 1] = find(argv[place + 1])
    return result


def load(config: str) -> ml_collections.ConfigDict:
    """Run get_config() of a config and return its result.

    Args:
        config: as for `find`.

    Raises:
        UserError: as for `find`.
    """
    path, _, argument = find(config).partition(":")
    return runpy.run_path(path)["get_config"](*([argument] if argument else []))
